// The copy of x that the kernel of integers reads: int16, channels last, with its padding.
#ifndef JAXCONV_INTEGER_COPY_H_
#define JAXCONV_INTEGER_COPY_H_

#include <immintrin.h>

#include "integer_layer.h"
#include "team.h"
#include "vector.h"

namespace jaxconv::avx2 {
namespace {

// The part of x that is read, with its padding.
struct Read {
  int64_t size[3], channels;

  static Read Of(const IntegerLayer& s) {
    Read read{{}, s.inputs * s.groups};
    for (int d = 0; d < 3; ++d)
      read.size[d] = (s.out[d] - 1) * s.stride[d] + (s.kernel[d] - 1) * s.dilation[d] + 1;
    return read;
  }

  // Offset of a position's first element.
  int64_t At(int64_t a, int64_t b, int64_t c) const {
    return ((a * size[1] + b) * size[2] + c) * channels;
  }

  // With one element behind the last: elements are read by twos.
  int64_t Bytes(const IntegerLayer& s) const {
    return CeilDiv((s.n * At(size[0], 0, 0) + 1) * 2, 64) * 64;
  }
};

__m128i Bytes(const int8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
__m128i Bytes(const uint8_t* p) { return Bytes(reinterpret_cast<const int8_t*>(p)); }
__m256i Load(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
void Store(int16_t* p, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

__m256i Widened(__m128i bytes, int8_t) { return _mm256_cvtepi8_epi16(bytes); }
__m256i Widened(__m128i bytes, uint8_t) { return _mm256_cvtepu8_epi16(bytes); }
template <typename Element>
__m256i Widened(const Element* p) {
  return Widened(Bytes(p), Element{});
}
__m256i Widened(const int16_t* p) { return Load(p); }

// Calls work(row, n, a, b, first, last) for this thread's rows of the copy: elements [first, last)
// are those of x's row (n, a, b), and the others are set to zero.
template <typename Work>
void ForRows(const IntegerLayer& s, const Read& read, int16_t* copy, const Member& member,
             const Work& work) {
  const int64_t rows = s.n * read.size[0] * read.size[1], length = read.At(0, 1, 0);
  const int64_t from = Max(0, Min(read.size[2], s.before[2]));
  const int64_t to = Max(from, Min(read.size[2], s.in[2] + s.before[2]));
  for (int64_t row = member.First(rows); row < member.Last(rows); ++row) {
    int16_t* const made = copy + row * length;
    const int64_t b = row % read.size[1] - s.before[1];
    const int64_t a = row / read.size[1] % read.size[0] - s.before[0];
    const int64_t n = row / read.size[1] / read.size[0];
    const bool inside = a >= 0 && a < s.in[0] && b >= 0 && b < s.in[1];
    const int64_t first = inside ? from * read.channels : length;
    const int64_t last = inside ? to * read.channels : length;
    for (int64_t i = 0; i < first; ++i) made[i] = 0;
    work(made, n, a, b, first, last);
    for (int64_t i = last; i < length; ++i) made[i] = 0;
  }
  if (member.thread == 0) copy[rows * length] = 0;
}

// x with channels last.
template <typename Element>
void Copy(const IntegerLayer& s, const Read& read, const Element* x, int16_t* copy,
          const Member& member) {
  ForRows(s, read, copy, member,
          [&](int16_t* made, int64_t n, int64_t a, int64_t b, int64_t first, int64_t last) {
            const Element* const source =
                x + (((n * s.in[0] + a) * s.in[1] + b) * s.in[2] - s.before[2]) * read.channels;
            int64_t i = first;
            for (; i + 16 <= last; i += 16) Store(made + i, Widened(source + i));
            for (; i < last; ++i) made[i] = source[i];
          });
}

// Rows of 16 bytes, half by half the rows of twice as many columns: four times over, the columns.
template <int rows>
JAXCONV_INLINE void Interleave(__m128i (&lines)[16]) {
  __m128i made[16];
  JAXCONV_UNROLL for (int i = 0; i < rows / 2; ++i) {
    made[2 * i] = _mm_unpacklo_epi8(lines[i], lines[i + rows / 2]);
    made[2 * i + 1] = _mm_unpackhi_epi8(lines[i], lines[i + rows / 2]);
  }
  JAXCONV_UNROLL for (int i = 0; i < rows; ++i) lines[i] = made[i];
}

// Positions of x that are copied together, each with 16 channels at a time.
constexpr int64_t kPositions = 8;
constexpr int64_t kChannels = 16;

// 16 channels of 8 neighbouring positions; `pitch` lies between the channels of x.
template <typename Element>
JAXCONV_INLINE void CopyChannels(const Element* x, int64_t pitch, __m256i zero,
                                 int16_t* const* places) {
  __m128i lines[16];
  JAXCONV_UNROLL for (int i = 0; i < 8; ++i) {
    const auto half = [&](int64_t channel) {
      return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x + channel * pitch));
    };
    lines[i] = _mm_unpacklo_epi8(half(i), half(i + 8));
  }
  Interleave<8>(lines);
  Interleave<8>(lines);
  Interleave<8>(lines);
  JAXCONV_UNROLL for (int i = 0; i < kPositions; ++i)
    if (places[i]) Store(places[i], _mm256_sub_epi16(Widened(lines[i], Element{}), zero));
}

// x (n, channels, *in) of 8 bits, less `zero`, which it has outside too.
template <typename Element>
void CopyChannelsFirst(const IntegerLayer& s, const Read& read, const Element* x, int32_t zero,
                       int16_t* copy, const Member& member) {
  ForRows(s, read, copy, member, [](auto...) {});
  const int64_t plane = s.in[1] * s.in[2], volume = s.in[0] * plane;
  const int64_t tiles = CeilDiv(plane, kPositions), all = s.n * s.in[0] * tiles;
  const __m256i zeros = _mm256_set1_epi16(static_cast<int16_t>(zero));
  for (int64_t tile = member.First(all); tile < member.Last(all); ++tile) {
    const int64_t first = tile % tiles * kPositions, image = tile / tiles;
    const int64_t n = image / s.in[0], a = image % s.in[0] + s.before[0];
    if (a < 0 || a >= read.size[0]) continue;
    int64_t b = first / s.in[2], c = first % s.in[2];
    const int64_t count = Min(kPositions, plane - first);
    int16_t* places[kPositions];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t to_b = b + s.before[1], to_c = c + s.before[2];
      const bool is_read = to_b >= 0 && to_b < read.size[1] && to_c >= 0 && to_c < read.size[2];
      places[i] = is_read ? copy + read.At(n * read.size[0] + a, to_b, to_c) : nullptr;
      if (++c == s.in[2]) c = 0, ++b;
    }
    const Element* const source = x + n * read.channels * volume + image % s.in[0] * plane + first;
    int64_t channel = 0;
    if (count == kPositions) {
      for (; channel + kChannels <= read.channels; channel += kChannels) {
        CopyChannels(source + channel * volume, volume, zeros, places);
        for (int64_t i = 0; i < kPositions; ++i)
          if (places[i]) places[i] += kChannels;
      }
    }
    for (const int64_t done = channel; channel < read.channels; ++channel)
      for (int64_t i = 0; i < count; ++i)
        if (places[i])
          places[i][channel - done] = static_cast<int16_t>(source[channel * volume + i] - zero);
  }
}

}  // namespace
}  // namespace jaxconv::avx2

#endif  // JAXCONV_INTEGER_COPY_H_
