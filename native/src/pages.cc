#include "pages.h"

#include <sys/mman.h>

#include <cstdint>

namespace jaxconv {
namespace {

constexpr uintptr_t kPage = uintptr_t{2} << 20;
// Below, memory is mostly what was freed before, and its pages are there.
constexpr size_t kWorthwhile = size_t{4} << 20;

}  // namespace

void PreferLargePages(void* data, size_t bytes) {
  if (bytes < kWorthwhile) return;
  const uintptr_t first = reinterpret_cast<uintptr_t>(data);
  const uintptr_t from = (first + kPage - 1) / kPage * kPage, to = (first + bytes) / kPage * kPage;
  // a hint: where the system has no such pages it fails, and nothing is lost
  if (from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
}

}  // namespace jaxconv
