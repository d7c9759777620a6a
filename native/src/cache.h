// A cache of plans by problem: the most recently used, up to a bound.
#ifndef JAXCONV_CACHE_H_
#define JAXCONV_CACHE_H_

#include <cstdint>
#include <memory>

#include "plan.h"

namespace jaxconv {

struct CacheInfo {
  int64_t size, capacity, hits, misses;
};

// The problem's plan, from the cache or built now. Call it with the problem's `Cores` held.
std::shared_ptr<const Plan> PlanFor(const Problem& problem);

// Counts a call that kept its plan and did not look it up.
void CountHit();

CacheInfo GetCacheInfo();

// Sets the bound (at least 1) and drops the plans beyond it.
void ResizeCache(int64_t capacity);

}  // namespace jaxconv

#endif  // JAXCONV_CACHE_H_
