#include "workspace.h"

#include <cstdlib>
#include <map>
#include <mutex>
#include <new>

#include "pages.h"

namespace jaxconv {
namespace {

constexpr size_t kAlignment = 4096;
// Fresh pages cost more than many convolutions, so idle blocks are kept, up to this much.
constexpr size_t kKept = size_t{256} << 20;

struct Idle {
  std::mutex mutex;
  std::multimap<size_t, void*> blocks;  // by size
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
    const auto fit = idle.blocks.lower_bound(size_);
    if (fit != idle.blocks.end() && fit->first <= 2 * size_) {
      size_ = fit->first;
      data_ = fit->second;
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
  while (idle.bytes + size_ > kKept) {  // the smallest are the cheapest to make again
    const auto smallest = idle.blocks.begin();
    idle.bytes -= smallest->first;
    std::free(smallest->second);
    idle.blocks.erase(smallest);
  }
  idle.blocks.emplace(size_, data_);
  idle.bytes += size_;
}

}  // namespace jaxconv
