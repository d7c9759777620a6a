#include "threads.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "older_libraries.h"
#include "process.h"
#include "team.h"

namespace jaxconv {
namespace {

struct Gate {
  std::mutex mutex;
  std::condition_variable freed;
  int64_t taken = 0;
};

int64_t AllCores() {
  static const int64_t cores = std::max(1, CPU_COUNT(&Cpus()));
  return cores;
}

thread_local int64_t held = 0;  // by this thread's `Cores`

}  // namespace

int64_t ThreadsFor(int64_t pool, int64_t devices) {
  const int64_t cores = AllCores();
  const int64_t available = pool > 0 ? std::min(pool, cores) : cores;
  return std::max<int64_t>(1, available / std::max<int64_t>(1, devices));
}

const cpu_set_t& Cpus() {
  static const cpu_set_t cpus = [] {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof(allowed), &allowed);
    return allowed;
  }();
  return cpus;
}

void Inherit(int64_t most) { held = most; }

int64_t MostThreads() { return held > 0 ? held : AllCores(); }

Cores::Cores(int64_t threads) : threads_(threads), before_(held) {
  const int64_t cores = AllCores();
  Gate& gate = OfProcess<Gate>();
  std::unique_lock<std::mutex> lock(gate.mutex);
  gate.freed.wait(lock, [&] { return gate.taken == 0 || gate.taken + threads_ <= cores; });
  // enough for all that hold cores, each of which is one thread itself
  HaveHelpers(gate.taken + threads_ - 1);
  gate.taken += threads_;
  held = threads_;
}

Cores::~Cores() {
  held = before_;
  Gate& gate = OfProcess<Gate>();
  {
    const std::lock_guard<std::mutex> lock(gate.mutex);
    gate.taken -= threads_;
  }
  gate.freed.notify_all();
}

}  // namespace jaxconv
