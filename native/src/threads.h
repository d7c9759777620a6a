// How many threads a convolution runs on, and which calls wait for cores.
#ifndef JAXCONV_THREADS_H_
#define JAXCONV_THREADS_H_

#include <sched.h>

#include <cstdint>

namespace jaxconv {

// Threads for one of `devices` devices that run a program together, where XLA's pool has `pool`.
int64_t ThreadsFor(int64_t pool, int64_t devices);

// The CPUs that the process might use when this was asked first.
const cpu_set_t& Cpus();

// The most threads that a team of this thread's has: what `Cores` holds, or all cores.
int64_t MostThreads();

// Gives this thread, a helper, the limit of the one that it helps.
void Inherit(int64_t most);

// Whether oneDNN has ever started a team here.
bool OneDnnHasOurThreads();

// Holds `threads` of the process's cores, and has this thread's teams use as many, while it lives.
//
// Teams know nothing of each other: two that run at once wait at their barriers for threads that
// have no core. So calls that would need more cores than there are wait here.
class Cores {
 public:
  // Throws std::system_error where the system has not so many threads.
  explicit Cores(int64_t threads);
  ~Cores();
  Cores(const Cores&) = delete;
  Cores& operator=(const Cores&) = delete;

 private:
  int64_t threads_, before_;
};

}  // namespace jaxconv

#endif  // JAXCONV_THREADS_H_
