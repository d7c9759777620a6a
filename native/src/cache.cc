#include "cache.h"

#include <algorithm>
#include <atomic>
#include <list>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace jaxconv {
namespace {

using Key = std::vector<int64_t>;

struct KeyHash {
  size_t operator()(const Key& key) const {
    uint64_t hash = 0x9e3779b97f4a7c15u;
    for (int64_t value : key) {
      hash ^= static_cast<uint64_t>(value) + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2);
      hash *= 0xff51afd7ed558ccdu;
    }
    return hash ^ (hash >> 32);
  }
};

struct Cache {
  using Entry = std::pair<Key, std::shared_ptr<const Plan>>;

  std::mutex mutex;
  std::list<Entry> entries;  // the last used first
  std::unordered_map<Key, std::list<Entry>::iterator, KeyHash> places;
  int64_t capacity = 512;
  std::atomic<int64_t> hits{0};
  int64_t misses = 0;

  std::shared_ptr<const Plan> Find(const Key& key) {
    const auto place = places.find(key);
    if (place == places.end()) return nullptr;
    entries.splice(entries.begin(), entries, place->second);
    return place->second->second;
  }

  void Trim() {
    while (static_cast<int64_t>(entries.size()) > capacity) {
      places.erase(entries.back().first);
      entries.pop_back();  // a plan that is running lives on until it is done
    }
  }
};

Cache& TheCache() {
  static Cache* cache = [] {
    dnnl::set_primitive_cache_capacity(0);  // this is the cache, and its bound is the bound
    return new Cache;  // never destroyed: threads may outlive static objects
  }();
  return *cache;
}

}  // namespace

std::shared_ptr<const Plan> PlanFor(const Problem& problem) {
  Cache& cache = TheCache();
  {
    const std::lock_guard<std::mutex> lock(cache.mutex);
    if (auto plan = cache.Find(problem.key)) {
      ++cache.hits;
      return plan;
    }
    ++cache.misses;
  }
  // built outside the lock, so that others go on; of two built at once the first one stays
  auto built = std::make_shared<const Plan>(problem);
  const std::lock_guard<std::mutex> lock(cache.mutex);
  if (auto plan = cache.Find(problem.key)) return plan;
  cache.entries.emplace_front(problem.key, built);
  cache.places.emplace(problem.key, cache.entries.begin());
  cache.Trim();
  return built;
}

void CountHit() { TheCache().hits.fetch_add(1, std::memory_order_relaxed); }

CacheInfo GetCacheInfo() {
  Cache& cache = TheCache();
  const std::lock_guard<std::mutex> lock(cache.mutex);
  return {static_cast<int64_t>(cache.entries.size()), cache.capacity, cache.hits.load(), cache.misses};
}

void ResizeCache(int64_t capacity) {
  Cache& cache = TheCache();
  const std::lock_guard<std::mutex> lock(cache.mutex);
  cache.capacity = std::max<int64_t>(1, capacity);
  cache.Trim();
}

}  // namespace jaxconv
