#include "kept_memory.h"

#include <dlfcn.h>
#include <malloc.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <map>
#include <mutex>
#include <new>

#include "imports.h"
#include "older_libraries.h"
#include "pages.h"
#include "process.h"

namespace jaxconv {
namespace {

// Below, the C library's own lists of freed blocks serve as well.
constexpr size_t kSmallest = size_t{1} << 16;
constexpr size_t kAlignment = 64;
constexpr int64_t kMostAtFirst = int64_t{256} << 20;

// The C library's functions, or whatever stands for them in this process.
struct Allocator {
  int (*aligned)(void**, size_t, size_t);
  void (*free)(void*);
  size_t (*size)(void*);

  // All three of one library, so that each knows the blocks of the others.
  bool IsOne() const {
    Dl_info a, b, c;
    return aligned != nullptr && free != nullptr && size != nullptr &&
           dladdr(reinterpret_cast<void*>(aligned), &a) != 0 &&
           dladdr(reinterpret_cast<void*>(free), &b) != 0 &&
           dladdr(reinterpret_cast<void*>(size), &c) != 0 && a.dli_fbase == b.dli_fbase &&
           b.dli_fbase == c.dli_fbase;
  }
};

template <typename Function>
Function Find(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

const Allocator& TheAllocator() {
  static const Allocator allocator{Find<decltype(Allocator::aligned)>("posix_memalign"),
                                   Find<decltype(Allocator::free)>("free"),
                                   Find<decltype(Allocator::size)>("malloc_usable_size")};
  return allocator;
}

time_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec;
}

struct Idle {
  struct Block {
    void* data;
    time_t since;
  };

  std::mutex mutex;
  std::multimap<size_t, Block> blocks;  // by size
  int64_t bytes = 0, most = kMostAtFirst;
  // Seconds that a block is kept: what a program leaves that has run for the last time goes when
  // others give back theirs.
  time_t longest = 30, looked = 0;

  // All with the mutex held.
  void* Take(size_t alignment, size_t wanted) {
    for (auto it = blocks.lower_bound(wanted); it != blocks.end(); ++it) {
      if (it->first > wanted + wanted / 4) break;
      void* const data = it->second.data;
      if (reinterpret_cast<uintptr_t>(data) % alignment != 0) continue;
      bytes -= it->first;
      blocks.erase(it);
      return data;
    }
    return nullptr;
  }

  // Whether there was memory to note it.
  bool Put(size_t size, void* data, time_t now) {
    try {
      blocks.emplace(size, Block{data, now});
    } catch (const std::bad_alloc&) {
      return false;
    }
    bytes += size;
    if (bytes > most || now > looked + longest / 4) Trim(now);
    return true;
  }

  void Trim(time_t now) {
    looked = now;
    for (auto it = blocks.begin(); it != blocks.end();)
      it = it->second.since + longest < now ? Drop(it) : ++it;
    while (bytes > most) {
      auto oldest = blocks.begin();
      for (auto it = blocks.begin(); it != blocks.end(); ++it)
        if (it->second.since < oldest->second.since) oldest = it;
      Drop(oldest);
    }
  }

  std::multimap<size_t, Block>::iterator Drop(std::multimap<size_t, Block>::iterator it) {
    bytes -= it->first;
    TheAllocator().free(it->second.data);
    return blocks.erase(it);
  }

  void Empty() {
    while (!blocks.empty()) Drop(blocks.begin());
  }
};

bool keeps_xla = false;

void* New(size_t alignment, size_t bytes) {
  void* block = nullptr;
  if (TheAllocator().aligned(&block, alignment, bytes) != 0) {
    Idle& idle = OfProcess<Idle>();
    const std::lock_guard<std::mutex> lock(idle.mutex);
    idle.Empty();
    if (TheAllocator().aligned(&block, alignment, bytes) != 0) return nullptr;
  }
  PreferLargePages(block, bytes);
  return block;
}

bool IsLarge(void* block) {
  return block != nullptr && reinterpret_cast<uintptr_t>(block) % kAlignment == 0 &&
         TheAllocator().size(block) >= kSmallest;
}

// In the place of posix_memalign and free: a block that was taken here may be freed by the C
// library, and the other way round, since it is the C library's in both cases.
int TakeAligned(void** block, size_t alignment, size_t bytes) {
  if (bytes < kSmallest || alignment < kAlignment) {
    return TheAllocator().aligned(block, alignment, bytes);
  }
  void* const taken = TakeBlock(alignment, bytes);
  if (taken == nullptr) return ENOMEM;
  *block = taken;
  return 0;
}

void Free(void* block) {
  const int error = errno;
  if (IsLarge(block)) {
    KeepBlock(block);
  } else {
    TheAllocator().free(block);
  }
  errno = error;
}

}  // namespace

void* TakeBlock(size_t alignment, size_t bytes) {
  {
    Idle& idle = OfProcess<Idle>();
    const std::lock_guard<std::mutex> lock(idle.mutex);
    if (void* const block = idle.Take(alignment, bytes)) return block;
  }
  return New(alignment, bytes);
}

void KeepBlock(void* block) {
  const size_t size = TheAllocator().size(block);
  Idle& idle = OfProcess<Idle>();
  const std::lock_guard<std::mutex> lock(idle.mutex);
  if (static_cast<int64_t>(size) > idle.most || !idle.Put(size, block, Now())) {
    TheAllocator().free(block);
  }
}

KeptMemory GetKeptMemory() {
  Idle& idle = OfProcess<Idle>();
  const std::lock_guard<std::mutex> lock(idle.mutex);
  return {idle.bytes, idle.most, keeps_xla};
}

void LimitKeptMemory(int64_t most, int64_t seconds) {
  Idle& idle = OfProcess<Idle>();
  const std::lock_guard<std::mutex> lock(idle.mutex);
  idle.most = most;
  idle.longest = static_cast<time_t>(seconds);
  idle.Trim(Now());
}

void KeepMemoryOf(const char* folder) {
  const Allocator& allocator = TheAllocator();
  if (!allocator.IsOne()) return;
  const Import imports[] = {
      {"posix_memalign", reinterpret_cast<void*>(allocator.aligned),
       reinterpret_cast<void*>(&TakeAligned)},
      {"free", reinterpret_cast<void*>(allocator.free), reinterpret_cast<void*>(&Free)},
  };
  keeps_xla = ReplaceImports(folder, imports, 2);
}

}  // namespace jaxconv
