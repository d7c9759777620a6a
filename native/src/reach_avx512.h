// What the gradient of a kernel reads of rows of planes, for the files that are compiled for
// AVX-512.
#ifndef JAXCONV_REACH_AVX512_H_
#define JAXCONV_REACH_AVX512_H_

#include "columns_avx512.h"

namespace jaxconv {
namespace {

// Results of a row that are taken together: they and what they read stay in the first cache.
constexpr int64_t kChunk = 512;
// As many times more, where each of as many vectors has sums of its own.
constexpr int64_t kMostPeriods = 4;

// What results read of a row of x: `parts` of the row, the positions sorted by their remainder,
// each of `count` floats from `first` on, in units of the stride. That are `span` more than
// results. Of several parts, all rows are copied first; of one, a chunk of results at a time where
// it meets padding.
struct Reach {
  int64_t parts, first, span, chunk, count;

  static Reach Of(const Depthwise& d) {
    const Depthwise flat = Flat(d);
    const int64_t step = flat.stride[2];
    const int64_t first = FloorDiv(-flat.before[2], step);
    const int64_t last = FloorDiv((d.kernel[2] - 1) * flat.dilation[2] - flat.before[2], step);
    const int64_t chunk = Min(kChunk * Min(PeriodOf(d), kMostPeriods),
                              CeilDiv(flat.out[2], kLanes) * kLanes);
    return {step, first, last - first, chunk, (step == 1 ? chunk : flat.out[2]) + last - first};
  }

  // Of all rows.
  int64_t CopyBytes(const Depthwise& d) const {
    if (parts == 1) return 0;
    return RoundToLines(d.n * d.in[0] * d.in[1] * parts * count * sizeof(float));
  }

  int64_t WindowBytes() const { return parts == 1 ? RoundToLines(count * sizeof(float)) : 0; }

  int64_t Offset(const Depthwise& flat, int64_t k) const {
    const int64_t position = k * flat.dilation[2] - flat.before[2];
    const int64_t shift = FloorDiv(position, parts), part = position - shift * parts;
    return part * count + shift - first;
  }

  // For all threads of a team, which wait for each other.
  void Copy(const Depthwise& d, const float* x, float* copy, const Member& member) const {
    const int64_t rows = d.n * d.in[0] * d.in[1];
    for (int64_t row = member.First(rows); row < member.Last(rows); ++row) {
      for (int64_t part = 0; part < parts; ++part)
        CopyPart(x + row * d.in[2], d.in[2], part, copy + (row * parts + part) * count);
    }
    member.Barrier();
  }

 private:
  void CopyPart(const float* row, int64_t length, int64_t part, float* copy) const {
    const int64_t from = Max(0, Min(count, -first));
    const int64_t to = Max(from, Min(count, CeilDiv(length - part, parts) - first));
    for (int64_t i = 0; i < from; ++i) copy[i] = 0;
    int64_t i = from;
    if (parts == 2) i = CopyPairs(row, part, i, Min(to, length / 2 - first), copy);
    for (; i < to; ++i) copy[i] = row[(first + i) * parts + part];
    for (; i < count; ++i) copy[i] = 0;
  }

  // As many of the elements from i to `to` as vectors can: from two of them at once.
  int64_t CopyPairs(const float* row, int64_t part, int64_t i, int64_t to, float* copy) const {
    const __m512i lanes = LaneNumbers();
    const __m512i chosen = _mm512_add_epi32(_mm512_add_epi32(lanes, lanes),
                                            _mm512_set1_epi32(static_cast<int>(part)));
    for (; i + kLanes <= to; i += kLanes) {
      const float* at = row + (first + i) * 2;
      const __m512 low = _mm512_loadu_ps(at), high = _mm512_loadu_ps(at + kLanes);
      _mm512_storeu_ps(copy + i, _mm512_permutex2var_ps(low, chosen, high));
    }
    return i;
  }
};

}  // namespace
}  // namespace jaxconv

#endif  // JAXCONV_REACH_AVX512_H_
