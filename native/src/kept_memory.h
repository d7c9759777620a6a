// Large blocks of memory, kept from one use to the next: what the system gives anew it gives page by
// page, filled with zeros, and that takes as long as reading and writing the block several times.
#ifndef JAXCONV_KEPT_MEMORY_H_
#define JAXCONV_KEPT_MEMORY_H_

#include <cstddef>
#include <cstdint>

namespace jaxconv {

// Returns a kept block of at least `bytes`, at most a quarter larger, or a new one; nullptr if there
// is no memory. `alignment` is a power of two, of 64 bytes at least.
void* TakeBlock(size_t alignment, size_t bytes);

// Keeps a block from `TakeBlock`, or frees one that was not used for longest.
void KeepBlock(void* block);

struct KeptMemory {
  // Bytes that are kept and in no use, and the most that may be.
  int64_t idle, most;
  // Whether XLA's memory is kept too.
  bool of_xla;
};

KeptMemory GetKeptMemory();

// Frees what is above the limits, here and whenever a block is kept.
void LimitKeptMemory(int64_t most, int64_t seconds);

// From here on the libraries in `folder` that call posix_memalign and free, which is XLA, take large
// blocks from here and give them back. Does nothing if something else has taken over these calls.
void KeepMemoryOf(const char* folder);

}  // namespace jaxconv

#endif  // JAXCONV_KEPT_MEMORY_H_
