#include "threads.h"

#include <sched.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace jaxconv {
namespace {

struct Gate {
  std::mutex mutex;
  std::condition_variable freed;
  int64_t taken = 0;
};

Gate& TheGate() {
  static Gate* gate = new Gate;  // never destroyed: threads may outlive static objects
  return *gate;
}

// The process's cores: asked once, since asking is a system call.
int64_t AllCores() {
  static const int64_t cores = [] {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return CPU_COUNT(&allowed);
    return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }();
  return cores;
}

thread_local int64_t held = 0;  // by this thread's `Cores`

}  // namespace

int64_t ThreadsFor(int64_t pool, int64_t devices) {
  const int64_t cores = AllCores();
  const int64_t available = pool > 0 ? std::min(pool, cores) : cores;
  return std::max<int64_t>(1, available / std::max<int64_t>(1, devices));
}

int64_t MostThreads() { return held > 0 ? held : AllCores(); }

Cores::Cores(int64_t threads) : threads_(threads), before_(held) {
  const int64_t cores = AllCores();
  Gate& gate = TheGate();
  std::unique_lock<std::mutex> lock(gate.mutex);
  gate.freed.wait(lock, [&] { return gate.taken == 0 || gate.taken + threads_ <= cores; });
  gate.taken += threads_;
  held = threads_;
}

Cores::~Cores() {
  held = before_;
  Gate& gate = TheGate();
  {
    const std::lock_guard<std::mutex> lock(gate.mutex);
    gate.taken -= threads_;
  }
  gate.freed.notify_all();
}

}  // namespace jaxconv
