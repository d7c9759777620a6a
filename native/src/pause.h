// What a thread does between two looks at memory that another one will write.
#ifndef JAXCONV_PAUSE_H_
#define JAXCONV_PAUSE_H_

namespace jaxconv {

// Waits for some tens of cycles.
inline void Pause() {
#ifdef __x86_64__
  __builtin_ia32_pause();
#else
  asm volatile("isb");  // aarch64; its "yield" takes no time on most cores
#endif
}

}  // namespace jaxconv

#endif  // JAXCONV_PAUSE_H_
