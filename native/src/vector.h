// Vectors of floats, for the files that are compiled once for each instruction set: those of the
// one at hand, JAXCONV_ISA. Everything here has internal linkage: no other file may end up with
// this code.
#ifndef JAXCONV_VECTOR_H_
#define JAXCONV_VECTOR_H_

#if defined(__AVX512F__)
#include "vector_avx512.h"
#elif defined(__aarch64__)
#include "vector_neon.h"
#else
#include "vector_avx2.h"
#endif

// Before a loop whose counter says which register is meant.
#define JAXCONV_UNROLL _Pragma("GCC unroll 32")
// A function whose arrays are registers of its caller.
#define JAXCONV_INLINE inline __attribute__((always_inline))

namespace jaxconv::JAXCONV_ISA {
namespace {

// What suits 32 registers, or 16.
template <typename T>
constexpr T ByRegisters(T of_32, T of_16) {
  return kRegisters == 32 ? of_32 : of_16;
}

constexpr int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t Max(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t CeilDiv(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_VECTOR_H_
