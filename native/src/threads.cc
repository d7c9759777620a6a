#include "threads.h"

#include <omp.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

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
  static const int64_t cores = omp_get_num_procs();
  return cores;
}

}  // namespace

int64_t ThreadsFor(int64_t pool, int64_t devices) {
  const int64_t cores = AllCores();
  const int64_t available = pool > 0 ? std::min(pool, cores) : cores;
  return std::max<int64_t>(1, available / std::max<int64_t>(1, devices));
}

Cores::Cores(int64_t threads) : threads_(threads), before_(omp_get_max_threads()) {
  const int64_t cores = AllCores();
  Gate& gate = TheGate();
  std::unique_lock<std::mutex> lock(gate.mutex);
  gate.freed.wait(lock, [&] { return gate.taken == 0 || gate.taken + threads_ <= cores; });
  gate.taken += threads_;
  omp_set_num_threads(static_cast<int>(threads_));
}

Cores::~Cores() {
  omp_set_num_threads(before_);
  Gate& gate = TheGate();
  {
    const std::lock_guard<std::mutex> lock(gate.mutex);
    gate.taken -= threads_;
  }
  gate.freed.notify_all();
}

}  // namespace jaxconv
