// Vectors of AVX2 and FMA.
#ifndef JAXCONV_VECTOR_AVX2_H_
#define JAXCONV_VECTOR_AVX2_H_

#include <immintrin.h>

#include <cstdint>

namespace jaxconv::JAXCONV_ISA {
namespace {

constexpr int64_t kLanes = 8;
constexpr int kRegisters = 16;

using Vector = __m256;
// A number for each lane.
typedef int32_t LanePlaces __attribute__((vector_size(32)));
// Some of a vector's lanes: those are all ones.
using LaneMask = LanePlaces;

inline Vector Zero() { return _mm256_setzero_ps(); }
inline Vector Repeat(float value) { return _mm256_set1_ps(value); }
inline Vector MultiplyAdd(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }

inline Vector LoadVector(const float* p) { return _mm256_loadu_ps(p); }
inline void StoreVector(float* p, Vector value) { _mm256_storeu_ps(p, value); }

inline LanePlaces LaneNumbers() { return LanePlaces{0, 1, 2, 3, 4, 5, 6, 7}; }

// Lanes low to high - 1, where 0 <= low <= high <= kLanes.
inline LaneMask LanesBetween(int64_t low, int64_t high) {
  const LanePlaces lanes = LaneNumbers();
  return (lanes >= static_cast<int32_t>(low)) & (lanes < static_cast<int32_t>(high));
}

// Memory is touched in the lanes of a mask alone; the others load zero.
inline Vector LoadVector(LaneMask mask, const float* p) {
  return _mm256_maskload_ps(p, reinterpret_cast<__m256i>(mask));
}
inline void StoreVector(LaneMask mask, float* p, Vector value) {
  _mm256_maskstore_ps(p, reinterpret_cast<__m256i>(mask), value);
}

// In each lane the value of the lane `places` tells.
inline Vector Permuted(LanePlaces places, Vector values) {
  return _mm256_permutevar8x32_ps(values, reinterpret_cast<__m256i>(places));
}

// As Permuted, but what `found` has where a place is no lane's.
inline Vector PermutedOver(Vector found, LanePlaces places, Vector values) {
  const LaneMask here = (places >= 0) & (places < static_cast<int32_t>(kLanes));
  return _mm256_blendv_ps(found, Permuted(places, values), reinterpret_cast<Vector>(here));
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_VECTOR_AVX2_H_
