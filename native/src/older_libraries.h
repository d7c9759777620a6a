// Versions of functions that older C and C++ libraries have too, so that a wheel runs with them:
// glibc 2.17 and the libstdc++ of GCC 7. To be included where these functions are used.
#ifndef JAXCONV_OLDER_LIBRARIES_H_
#define JAXCONV_OLDER_LIBRARIES_H_

#include <cstddef>

#if defined(__GLIBC__) && defined(__GLIBCXX__) && defined(__x86_64__)
#define JAXCONV_OLDER_LIBRARIES
// From glibc 2.34 on they are in libc under a new version besides the old one. Before, they are in
// libdl, which Python is linked with there.
__asm__(".symver dlsym, dlsym@GLIBC_2.2.5");
__asm__(".symver dladdr, dladdr@GLIBC_2.2.5");
// std::condition_variable::wait, which GCC 12 gave a new version for its noexcept
__asm__(
    ".symver _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE, "
    "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE@GLIBCXX_3.4.11");
#endif

#endif  // JAXCONV_OLDER_LIBRARIES_H_
