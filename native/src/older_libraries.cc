// What headers of newer C and C++ libraries refer to, and older libraries do not have.
#include "older_libraries.h"

#ifdef JAXCONV_OLDER_LIBRARIES

#include <new>
#include <sstream>

// glibc has it from 2.32 on, and std::shared_ptr reads it: 0 says that there may be several threads.
extern "C" __attribute__((visibility("hidden"))) char __libc_single_threaded;
char __libc_single_threaded = 0;

namespace std {

// libstdc++ has it from GCC 11 on.
void __throw_bad_array_new_length() {
  throw bad_array_new_length();
}

// Its constructor without arguments is in libstdc++ from GCC 9 on.
template class basic_stringstream<char>;

}  // namespace std

#endif
