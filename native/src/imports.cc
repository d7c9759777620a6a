#include "imports.h"

#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace jaxconv {
namespace {

struct Request {
  std::string folder;
  const Import* imports;
  size_t count;
  bool replaced;
};

struct Range {
  const char* begin;
  size_t bytes;
};

// The places where a library has the addresses of functions that it imports, by the number of the
// import; empty if one of them is not imported, or is not what it should be.
class Slots {
 public:
  Slots(const dl_phdr_info& info, const Import* imports, size_t count)
      : found_(count), base_(info.dlpi_addr) {
    const ElfW(Dyn)* entry = nullptr;
    for (int p = 0; p < info.dlpi_phnum; ++p) {
      if (info.dlpi_phdr[p].p_type == PT_DYNAMIC)
        entry = reinterpret_cast<const ElfW(Dyn)*>(base_ + info.dlpi_phdr[p].p_vaddr);
    }
    if (entry == nullptr) return;
    Range calls{}, data{};
    for (; entry->d_tag != DT_NULL; ++entry) {
      const auto* at = reinterpret_cast<const char*>(entry->d_un.d_ptr);
      switch (entry->d_tag) {
        case DT_JMPREL: calls.begin = at; break;
        case DT_PLTRELSZ: calls.bytes = entry->d_un.d_val; break;
        case DT_RELA: data.begin = at; break;
        case DT_RELASZ: data.bytes = entry->d_un.d_val; break;
        case DT_SYMTAB: symbols_ = reinterpret_cast<const ElfW(Sym)*>(at); break;
        case DT_STRTAB: names_ = at; break;
        default: break;
      }
    }
    if (symbols_ == nullptr || names_ == nullptr) return;
    for (const Range& range : {calls, data}) {
      const auto* first = reinterpret_cast<const ElfW(Rela)*>(range.begin);
      for (const auto* r = first; r < first + range.bytes / sizeof(*r); ++r) Look(*r, imports);
    }
    all_ = true;
    for (size_t i = 0; i < count; ++i) {
      all_ = all_ && !found_[i].empty();
      for (void** slot : found_[i]) all_ = all_ && *slot == imports[i].from;
    }
  }

  bool all() const { return all_; }

  bool Write(const Import* imports) const {
    for (size_t i = 0; i < found_.size(); ++i) {
      for (void** slot : found_[i])
        if (!Write(slot, imports[i].to)) return false;
    }
    return true;
  }

 private:
  void Look(const ElfW(Rela)& relocation, const Import* imports) {
    const auto type = ELF64_R_TYPE(relocation.r_info);
    if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT) return;
    const char* name = names_ + symbols_[ELF64_R_SYM(relocation.r_info)].st_name;
    for (size_t i = 0; i < found_.size(); ++i) {
      if (std::strcmp(name, imports[i].name) == 0)
        found_[i].push_back(reinterpret_cast<void**>(base_ + relocation.r_offset));
    }
  }

  // The table may have been made read-only after the library was loaded. It stays writable: whether
  // it was, the system does not say.
  static bool Write(void** slot, void* value) {
    static const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    auto* const start = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(slot) / page * page);
    if (mprotect(start, page, PROT_READ | PROT_WRITE) != 0) return false;
    __atomic_store_n(slot, value, __ATOMIC_RELEASE);
    return true;
  }

  std::vector<std::vector<void**>> found_;
  uintptr_t base_;
  const ElfW(Sym)* symbols_ = nullptr;
  const char* names_ = nullptr;
  bool all_ = false;
};

int Visit(dl_phdr_info* info, size_t, void* data) {
  auto& request = *static_cast<Request*>(data);
  const std::string path = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  if (path.compare(0, request.folder.size(), request.folder) != 0) return 0;
  const Slots slots(*info, request.imports, request.count);
  if (slots.all() && slots.Write(request.imports)) request.replaced = true;
  return 0;
}

}  // namespace

bool ReplaceImports(const char* folder, const Import* imports, size_t count) {
  Request request{folder, imports, count, false};
  dl_iterate_phdr(Visit, &request);
  return request.replaced;
}

}  // namespace jaxconv
