// Objects of which a process has one.
#ifndef JAXCONV_PROCESS_H_
#define JAXCONV_PROCESS_H_

#include <pthread.h>

namespace jaxconv {

// The process's T. It is never destroyed, since threads may outlive static objects. A forked child
// gets a new one: it has none of its parent's threads, and perhaps its locks.
template <typename T>
T& OfProcess() {
  static T* one = nullptr;
  static const int renewed = [] {
    one = new T;
    return pthread_atfork(nullptr, nullptr, [] { one = new T; });
  }();
  (void)renewed;
  return *one;
}

}  // namespace jaxconv

#endif  // JAXCONV_PROCESS_H_
