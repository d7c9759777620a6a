// Vectors of NEON (aarch64).
//
// Of one register, not of two, as which depthwise layers and lines would load a sixth to a half more
// for each product. Groups of eight channels are not served: they do not divide a vector.
#ifndef JAXCONV_VECTOR_NEON_H_
#define JAXCONV_VECTOR_NEON_H_

#include <arm_neon.h>

#include <cstdint>

namespace jaxconv::JAXCONV_ISA {
namespace {

constexpr int64_t kLanes = 4;
constexpr int kRegisters = 32;

using Vector = float32x4_t;
// Some of a vector's lanes, one bit each.
using LaneMask = uint16_t;
constexpr LaneMask kAllLanes = (1 << kLanes) - 1;
// A number for each lane.
typedef int32_t LanePlaces __attribute__((vector_size(16)));

inline Vector Zero() { return vdupq_n_f32(0); }
inline Vector Repeat(float value) { return vdupq_n_f32(value); }
inline Vector MultiplyAdd(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }

inline Vector LoadVector(const float* p) { return vld1q_f32(p); }
inline void StoreVector(float* p, Vector value) { vst1q_f32(p, value); }

// Lanes low to high - 1, where 0 <= low <= high <= kLanes.
inline LaneMask LanesBetween(int64_t low, int64_t high) {
  return static_cast<LaneMask>((1u << high) - (1u << low));
}

// Memory is touched in the lanes of a mask alone; the others load zero.
inline Vector LoadVector(LaneMask mask, const float* p) {
  if (mask == kAllLanes) return LoadVector(p);
  Vector value = Zero();
  if (mask & 1) value = vld1q_lane_f32(p, value, 0);
  if (mask & 2) value = vld1q_lane_f32(p + 1, value, 1);
  if (mask & 4) value = vld1q_lane_f32(p + 2, value, 2);
  if (mask & 8) value = vld1q_lane_f32(p + 3, value, 3);
  return value;
}
inline void StoreVector(LaneMask mask, float* p, Vector value) {
  if (mask == kAllLanes) return StoreVector(p, value);
  if (mask & 1) vst1q_lane_f32(p, value, 0);
  if (mask & 2) vst1q_lane_f32(p + 1, value, 1);
  if (mask & 4) vst1q_lane_f32(p + 2, value, 2);
  if (mask & 8) vst1q_lane_f32(p + 3, value, 3);
}

inline LanePlaces LaneNumbers() { return LanePlaces{0, 1, 2, 3}; }

// In each lane the value of the lane `places` tells.
inline Vector Permuted(LanePlaces places, Vector values) {
  // the numbers of its four bytes, in each lane
  const LanePlaces bytes = places * 0x04040404 + 0x03020100;
  return vreinterpretq_f32_u8(
      vqtbl1q_u8(vreinterpretq_u8_f32(values), reinterpret_cast<uint8x16_t>(bytes)));
}

// As Permuted, but what `found` has where a place is no lane's.
inline Vector PermutedOver(Vector found, LanePlaces places, Vector values) {
  const LanePlaces here = (places >= 0) & (places < static_cast<int32_t>(kLanes));
  return vbslq_f32(reinterpret_cast<uint32x4_t>(here), Permuted(places, values), found);
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_VECTOR_NEON_H_
