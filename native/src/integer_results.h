// From sums in int32 of a block of outputs to y with channels first, rounded or not.
#ifndef JAXCONV_INTEGER_RESULTS_H_
#define JAXCONV_INTEGER_RESULTS_H_

#include <immintrin.h>

#include "integer_copy.h"
#include "integer_layer.h"
#include "vector.h"

namespace jaxconv::avx2 {
namespace {

// Outputs of a block, and of a vector of int32.
constexpr int64_t kBlock = 16;
constexpr int64_t kOutputs = 8;

__m256i* Whole(int32_t* p) { return reinterpret_cast<__m256i*>(p); }

// saturate(round(sum * factor) + zero) for one vector of sums.
struct Rounded {
  __m256 factor, zero, low, high;

  JAXCONV_INLINE __m256i Of(__m256i sums) const {
    const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), factor);
    const __m256 whole = _mm256_round_ps(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256 moved = _mm256_add_ps(whole, zero);
    const __m256 kept = _mm256_min_ps(_mm256_max_ps(moved, low), high);
    // what is no number becomes 0, as where XLA converts it
    return _mm256_cvtps_epi32(_mm256_and_ps(kept, _mm256_cmp_ps(moved, moved, _CMP_ORD_Q)));
  }
};

// A block of sums as they are made: `kBlock` outputs for each of `count` results.
struct Block {
  int32_t* sums;
  int64_t first, count;  // of the results
  int64_t channel, channels;  // of the outputs, and how many
};

// Calls work(t, count, place) for each run of results of one image, where `t` counts from the
// block's first result and `place` is that of its first in a channel's plane of y.
template <typename Work>
void ForImages(const IntegerLayer& s, const Block& block, const Work& work) {
  const int64_t plane = s.out[0] * s.out[1] * s.out[2], of_all = s.groups * s.outputs;
  for (int64_t t = 0; t < block.count;) {
    const int64_t n = (block.first + t) / plane, place = (block.first + t) % plane;
    const int64_t count = Min(block.count - t, plane - place);
    work(t, count, (n * of_all + block.channel) * plane + place);
    t += count;
  }
}

// 8 rows of 8 numbers, `pitch` apart, to columns `to_pitch` apart.
JAXCONV_INLINE void Turn(int32_t* from, int64_t pitch, int32_t* to, int64_t to_pitch) {
  __m256i rows[8], pairs[8], fours[8];
  JAXCONV_UNROLL for (int i = 0; i < 8; ++i) rows[i] = _mm256_loadu_si256(Whole(from + i * pitch));
  JAXCONV_UNROLL for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  JAXCONV_UNROLL for (int i = 0; i < 8; i += 4) {
    JAXCONV_UNROLL for (int j = 0; j < 2; ++j) {
      fours[i + 2 * j] = _mm256_unpacklo_epi64(pairs[i + j], pairs[i + j + 2]);
      fours[i + 2 * j + 1] = _mm256_unpackhi_epi64(pairs[i + j], pairs[i + j + 2]);
    }
  }
  JAXCONV_UNROLL for (int i = 0; i < 4; ++i) {
    _mm256_storeu_si256(Whole(to + i * to_pitch),
                        _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20));
    _mm256_storeu_si256(Whole(to + (i + 4) * to_pitch),
                        _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31));
  }
}

void PutSums(const IntegerLayer& s, const Block& block, int32_t* y) {
  const int64_t plane = s.out[0] * s.out[1] * s.out[2];
  ForImages(s, block, [&](int64_t first, int64_t count, int64_t place) {
    int32_t* const sums = block.sums + first * kBlock;
    for (int64_t o = 0; o < block.channels; o += kOutputs) {
      int32_t* const to = y + place + o * plane;
      const int64_t outputs = Min(kOutputs, block.channels - o);
      int64_t t = 0;
      if (outputs == kOutputs)
        for (; t + 8 <= count; t += 8) Turn(sums + t * kBlock + o, kBlock, to + t, plane);
      for (int64_t i = 0; i < outputs; ++i)
        for (int64_t u = t; u < count; ++u) to[i * plane + u] = sums[u * kBlock + o + i];
    }
  });
}

// The bytes of 16 numbers that are those of a byte.
JAXCONV_INLINE __m128i Narrowed(__m256i first, __m256i second, uint8_t) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xD8);
  return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
JAXCONV_INLINE __m128i Narrowed(__m256i first, __m256i second, int8_t) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xD8);
  return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

template <typename Element>
void PutBytes(const IntegerLayer& s, const Block& block, const Rounded* rounded, Element* y) {
  const int64_t plane = s.out[0] * s.out[1] * s.out[2];
  // the bytes take the place of the sums
  __m128i* const bytes = reinterpret_cast<__m128i*>(block.sums);
  for (int64_t t = 0; t < block.count; ++t) {
    const __m256i* const sums = Whole(block.sums + t * kBlock);
    const __m256i first = rounded[0].Of(_mm256_load_si256(sums));
    _mm_store_si128(bytes + t,
                    Narrowed(first, rounded[1].Of(_mm256_load_si256(sums + 1)), Element{}));
  }
  ForImages(s, block, [&](int64_t first, int64_t count, int64_t place) {
    Element* const to = y + place;
    int64_t t = 0;
    for (; t + 16 <= count; t += 16) {
      __m128i lines[16];
      JAXCONV_UNROLL for (int i = 0; i < 16; ++i) lines[i] = bytes[first + t + i];
      for (int i = 0; i < 4; ++i) Interleave<16>(lines);
      for (int64_t o = 0; o < block.channels; ++o)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + o * plane + t), lines[o]);
    }
    const Element* const rest = reinterpret_cast<const Element*>(bytes + first);
    for (int64_t o = 0; o < block.channels; ++o)
      for (int64_t u = t; u < count; ++u) to[o * plane + u] = rest[u * kBlock + o];
  });
}

// What is made of a block's sums: y's elements.
void Put(const IntegerLayer& s, const Block& block, const QuantizedResult& y) {
  __m256i bias[2];
  Rounded rounded[2];
  for (int v = 0; v < 2; ++v) {
    const int64_t from = block.channel + v * kOutputs;
    const LaneMask lanes = LanesBetween(0, Max(0, Min(kOutputs, block.channels - v * kOutputs)));
    bias[v] = _mm256_maskload_epi32(y.bias + from, reinterpret_cast<__m256i>(lanes));
    const bool is_signed = y.type == IntegerType::kInt8;
    rounded[v] = {LoadVector(lanes, y.factor + from), _mm256_set1_ps(y.zero),
                  _mm256_set1_ps(is_signed ? -128 : 0), _mm256_set1_ps(is_signed ? 127 : 255)};
  }
  for (int64_t t = 0; t < block.count; ++t) {
    __m256i* const sums = Whole(block.sums + t * kBlock);
    for (int v = 0; v < 2; ++v)
      _mm256_store_si256(sums + v, _mm256_add_epi32(_mm256_load_si256(sums + v), bias[v]));
  }
  if (y.type == IntegerType::kInt32)
    PutSums(s, block, static_cast<int32_t*>(y.data));
  else if (y.type == IntegerType::kInt8)
    PutBytes(s, block, rounded, static_cast<int8_t*>(y.data));
  else
    PutBytes(s, block, rounded, static_cast<uint8_t*>(y.data));
}

}  // namespace
}  // namespace jaxconv::avx2

#endif  // JAXCONV_INTEGER_RESULTS_H_
