// How rows of planes of one or few channels are read.
#ifndef JAXCONV_COLUMNS_H_
#define JAXCONV_COLUMNS_H_

#include "depthwise.h"
#include "vector.h"
#include "team.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// What an entry of the kernel along the last dimension reads for result t: row[offset + t], if
// 0 <= t + shift < length, and zero elsewhere.
struct Column {
  int64_t offset, shift, length;

  // Whether `count` results from t on all read something.
  bool Inside(int64_t t, int64_t count) const {
    return t + shift >= 0 && t + shift + count <= length;
  }

  // The lanes that read something, for the results from t on.
  LaneMask Mask(int64_t t) const {
    const int64_t low = Min(kLanes, Max(0, -shift - t));
    const int64_t high = Max(low, Min(kLanes, length - shift - t));
    return LanesBetween(low, high);
  }
};

// The lanes of the results from t on, of `count`.
inline LaneMask Upto(int64_t t, int64_t count) {
  return LanesBetween(0, Max(0, Min(kLanes, count - t)));
}

// Rows of elements, whatever their channel: one channel with a last dimension of as many more. What
// an element reads is of its own channel still, if the last dimension is not strided.
inline Depthwise Flat(Depthwise d) {
  d.in[2] *= d.c;
  d.out[2] *= d.c;
  d.dilation[2] *= d.c;
  d.before[2] *= d.c;
  d.c = 1;
  return d;
}

inline int64_t Gcd(int64_t a, int64_t b) { return b == 0 ? a : Gcd(b, a % b); }

// Vectors after which the channels of a row's elements come again.
inline int64_t PeriodOf(const Depthwise& d) { return d.c / Gcd(d.c, kLanes); }

inline int64_t FloorDiv(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

inline int64_t RoundToLines(int64_t bytes) { return CeilDiv(bytes, 64) * 64; }

// `channels` numbers, over and over: they divide a vector.
inline Vector Repeated(const float* numbers, int64_t channels) {
  const LanePlaces channel = LaneNumbers() & static_cast<int32_t>(channels - 1);
  return Permuted(channel, LoadVector(Upto(0, channels), numbers));
}

// `count` elements of a row of `length` from `first` on, zero outside it: where they are, or in
// `copy`.
inline const float* Window(const float* row, int64_t length, int64_t first, int64_t count,
                           float* copy) {
  if (first >= 0 && first + count <= length) return row + first;
  const int64_t from = Max(0, Min(count, -first)), to = Max(from, Min(count, length - first));
  for (int64_t i = 0; i < from; ++i) copy[i] = 0;
  for (int64_t i = from; i < to; ++i) copy[i] = row[first + i];
  for (int64_t i = to; i < count; ++i) copy[i] = 0;
  return copy;
}

// Rows of x as vectors can read them: where the last dimension is strided, each row is copied,
// its positions sorted by their remainder.
struct Rows {
  const float* data;
  int64_t pitch;

  static int64_t PartPitch(const Depthwise& d) { return CeilDiv(d.in[2], d.stride[2]); }

  // Bytes of the copy, if there is one.
  static int64_t Scratch(const Depthwise& d) {
    if (d.stride[2] == 1) return 0;
    return RoundToLines(d.n * d.in[0] * d.in[1] * d.stride[2] * PartPitch(d) * sizeof(float));
  }

  static Rows Of(const Depthwise& d, const float* x, float* copy) {
    if (d.stride[2] == 1) return {x, d.in[2]};
    return {copy, d.stride[2] * PartPitch(d)};
  }

  static Column ColumnOf(const Depthwise& d, int64_t k) {
    const int64_t position = k * d.dilation[2] - d.before[2], step = d.stride[2];
    const int64_t shift = FloorDiv(position, step), part = position - shift * step;
    return {part * PartPitch(d) + shift, shift, CeilDiv(d.in[2] - part, step)};
  }

  // For all threads of a team, which wait for each other where there is something to copy.
  static void Copy(const Depthwise& d, const float* x, float* copy, const Member& member) {
    if (d.stride[2] == 1) return;
    const int64_t step = d.stride[2], pitch = PartPitch(d), rows = d.n * d.in[0] * d.in[1];
    for (int64_t row = member.First(rows); row < member.Last(rows); ++row) {
      const float* from = x + row * d.in[2];
      for (int64_t part = 0; part < Min(step, d.in[2]); ++part) {
        float* to = copy + (row * step + part) * pitch;
        const int64_t count = CeilDiv(d.in[2] - part, step);
        for (int64_t i = 0; i < count; ++i) to[i] = from[i * step + part];
      }
    }
    member.Barrier();
  }
};

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_COLUMNS_H_
