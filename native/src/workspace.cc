#include "workspace.h"

#include <cstdlib>
#include <list>
#include <mutex>
#include <new>

#include "pages.h"

namespace jaxconv {
namespace {

constexpr size_t kAlignment = 4096;
// Fresh pages cost more than many convolutions, so idle blocks are kept, up to this much.
constexpr size_t kKept = size_t{256} << 20;

struct Block {
  size_t size;
  void* data;
};

struct Idle {
  std::mutex mutex;
  std::list<Block> blocks;  // the one that was used last comes first
  size_t bytes = 0;
};

Idle& IdleBlocks() {
  static Idle* idle = new Idle;  // never destroyed: threads may outlive static objects
  return *idle;
}

}  // namespace

Workspace::Workspace(size_t bytes) {
  if (bytes == 0) return;
  size_ = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  Idle& idle = IdleBlocks();
  {
    const std::lock_guard<std::mutex> lock(idle.mutex);
    // the smallest that fits, unless it is far too large
    auto fit = idle.blocks.end();
    for (auto block = idle.blocks.begin(); block != idle.blocks.end(); ++block) {
      if (block->size < size_ || block->size > 2 * size_) continue;
      if (fit == idle.blocks.end() || block->size < fit->size) fit = block;
    }
    if (fit != idle.blocks.end()) {
      size_ = fit->size;
      data_ = fit->data;
      idle.bytes -= size_;
      idle.blocks.erase(fit);
      return;
    }
  }
  data_ = std::aligned_alloc(kAlignment, size_);
  if (data_ == nullptr) throw std::bad_alloc();
  PreferLargePages(data_, size_);
}

Workspace::~Workspace() {
  if (data_ == nullptr) return;
  Idle& idle = IdleBlocks();
  const std::lock_guard<std::mutex> lock(idle.mutex);
  if (size_ > kKept) {
    std::free(data_);
    return;
  }
  // what was not used for longest goes: a program that is over leaves nothing that others need
  while (idle.bytes + size_ > kKept) {
    idle.bytes -= idle.blocks.back().size;
    std::free(idle.blocks.back().data);
    idle.blocks.pop_back();
  }
  idle.blocks.push_front({size_, data_});
  idle.bytes += size_;
}

}  // namespace jaxconv
