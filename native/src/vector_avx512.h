// Vectors of AVX-512.
#ifndef JAXCONV_VECTOR_AVX512_H_
#define JAXCONV_VECTOR_AVX512_H_

#include <immintrin.h>

#include <cstdint>

namespace jaxconv::JAXCONV_ISA {
namespace {

constexpr int64_t kLanes = 16;
constexpr int kRegisters = 32;

using Vector = __m512;
// Some of a vector's lanes.
using LaneMask = __mmask16;
// A number for each lane.
typedef int32_t LanePlaces __attribute__((vector_size(64)));

inline Vector Zero() { return _mm512_setzero_ps(); }
inline Vector Repeat(float value) { return _mm512_set1_ps(value); }
inline Vector MultiplyAdd(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }

inline Vector LoadVector(const float* p) { return _mm512_loadu_ps(p); }
inline void StoreVector(float* p, Vector value) { _mm512_storeu_ps(p, value); }

// Lanes low to high - 1, where 0 <= low <= high <= kLanes.
inline LaneMask LanesBetween(int64_t low, int64_t high) {
  return static_cast<LaneMask>((1u << high) - (1u << low));
}

// Memory is touched in the lanes of a mask alone; the others load zero.
inline Vector LoadVector(LaneMask mask, const float* p) { return _mm512_maskz_loadu_ps(mask, p); }
inline void StoreVector(LaneMask mask, float* p, Vector value) {
  _mm512_mask_storeu_ps(p, mask, value);
}

inline LanePlaces LaneNumbers() {
  return LanePlaces{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}

// In each lane the value of the lane `places` tells.
inline Vector Permuted(LanePlaces places, Vector values) {
  return _mm512_maskz_permutexvar_ps(0xffff, reinterpret_cast<__m512i>(places), values);
}

// As Permuted, but what `found` has where a place is no lane's.
inline Vector PermutedOver(Vector found, LanePlaces places, Vector values) {
  const __m512i index = reinterpret_cast<__m512i>(places);
  const LaneMask here = _mm512_cmplt_epu32_mask(index, _mm512_set1_epi32(kLanes));
  return _mm512_mask_permutexvar_ps(found, here, index, values);
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_VECTOR_AVX512_H_
