#include "workspace.h"

#include <new>

#include "kept_memory.h"

namespace jaxconv {
namespace {

constexpr size_t kAlignment = 4096;

}  // namespace

Workspace::Workspace(size_t bytes) {
  if (bytes == 0) return;
  data_ = TakeBlock(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (data_ == nullptr) throw std::bad_alloc();
}

Workspace::~Workspace() {
  if (data_ != nullptr) KeepBlock(data_);
}

}  // namespace jaxconv
