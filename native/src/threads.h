// How many threads a convolution runs on, and who runs when.
#ifndef JAXCONV_THREADS_H_
#define JAXCONV_THREADS_H_

#include <cstdint>

namespace jaxconv {

// Threads for one of `devices` devices that run a program together, where XLA's pool has `pool`.
int64_t ThreadsFor(int64_t pool, int64_t devices);

// Holds `threads` of the process's cores, and has OpenMP use as many, while it lives.
//
// OpenMP's teams know nothing of each other: two that run at once wait at their barriers for
// threads that have no core. So calls that would need more cores than there are wait here.
class Cores {
 public:
  explicit Cores(int64_t threads);
  ~Cores();
  Cores(const Cores&) = delete;
  Cores& operator=(const Cores&) = delete;

 private:
  int64_t threads_;
  int before_;
};

}  // namespace jaxconv

#endif  // JAXCONV_THREADS_H_
