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
      const ElfW(Phdr)& part = info.dlpi_phdr[p];
      if (part.p_type == PT_DYNAMIC)
        entry = reinterpret_cast<const ElfW(Dyn)*>(base_ + part.p_vaddr);
      if (part.p_type == PT_GNU_RELRO) {
        sealed_ = base_ + part.p_vaddr;
        sealed_bytes_ = part.p_memsz;
      }
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

  // What the loader has made read-only is so again afterwards.
  bool Write(void** slot, void* value) const {
    static const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto place = reinterpret_cast<uintptr_t>(slot);
    auto* const start = reinterpret_cast<void*>(place / page * page);
    if (mprotect(start, page, PROT_READ | PROT_WRITE) != 0) return false;
    __atomic_store_n(slot, value, __ATOMIC_RELEASE);
    if (place - sealed_ < sealed_bytes_) mprotect(start, page, PROT_READ);
    return true;
  }

  std::vector<std::vector<void**>> found_;
  uintptr_t base_, sealed_ = 0, sealed_bytes_ = 0;
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
