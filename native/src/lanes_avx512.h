// Vectors of channels, for the files that are compiled for AVX-512. Everything here has internal
// linkage: no other file may end up with this code.
#ifndef JAXCONV_LANES_AVX512_H_
#define JAXCONV_LANES_AVX512_H_

#include <immintrin.h>

#include <cstdint>

// Before a loop whose counter says which register is meant.
#define JAXCONV_UNROLL _Pragma("GCC unroll 32")
// A function whose arrays are registers of its caller.
#define JAXCONV_INLINE inline __attribute__((always_inline))

namespace jaxconv {
namespace {

constexpr int64_t kLanes = 16;

inline int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t Max(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t CeilDiv(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// `width` vectors of consecutive channels; if `ragged`, the last one is not full.
template <int width, bool ragged>
class Lanes {
 public:
  explicit Lanes(int64_t channels)
      : last_(static_cast<__mmask16>((1u << (channels - (width - 1) * kLanes)) - 1)) {}

  __mmask16 Mask(int v) const { return ragged && v == width - 1 ? last_ : 0xffff; }

  __m512 Load(const float* p, int v) const {
    return ragged && v == width - 1 ? _mm512_maskz_loadu_ps(last_, p + v * kLanes)
                                    : _mm512_loadu_ps(p + v * kLanes);
  }

  void Store(float* p, int v, __m512 value) const {
    if (ragged && v == width - 1)
      _mm512_mask_storeu_ps(p + v * kLanes, last_, value);
    else
      _mm512_storeu_ps(p + v * kLanes, value);
  }

 private:
  __mmask16 last_;
};

inline __m512i LaneNumbers() {
  return _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

// What is read for a channel: its own.
struct OwnChannel {
  template <int width, bool ragged>
  JAXCONV_INLINE __m512 Load(const Lanes<width, ragged>& lanes, const float* p, int v) const {
    return lanes.Load(p, v);
  }
};

// Or that with a given place in its group: groups of `size` channels, which divides a vector.
class ChannelOfGroup {
 public:
  ChannelOfGroup(int64_t size, int64_t place)
      : index_(_mm512_or_si512(
            _mm512_and_si512(LaneNumbers(), _mm512_set1_epi32(static_cast<int>(-size))),
            _mm512_set1_epi32(static_cast<int>(place)))) {}

  template <int width, bool ragged>
  JAXCONV_INLINE __m512 Load(const Lanes<width, ragged>& lanes, const float* p, int v) const {
    return _mm512_maskz_permutexvar_ps(0xffff, index_, lanes.Load(p, v));
  }

 private:
  __m512i index_;
};

// Calls `work` with each channel of a group that is read for a channel, and its place.
template <typename Work>
JAXCONV_INLINE void WithGroup(int64_t size, const Work& work) {
  if (size == 1) return work(OwnChannel(), 0);
  for (int64_t place = 0; place < size; ++place) work(ChannelOfGroup(size, place), place);
}

// Channels that are worked on at once.
constexpr int64_t kBlock = 2 * kLanes;

// Calls `work` with the lanes of at most a block of channels.
template <typename Work>
void WithLanes(int64_t channels, const Work& work) {
  if (channels == kBlock) return work(Lanes<2, false>(channels));
  if (channels > kLanes) return work(Lanes<2, true>(channels));
  if (channels == kLanes) return work(Lanes<1, false>(channels));
  return work(Lanes<1, true>(channels));
}

}  // namespace
}  // namespace jaxconv

#endif  // JAXCONV_LANES_AVX512_H_
