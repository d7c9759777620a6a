// What the gradient of a kernel reads of rows of planes.
#ifndef JAXCONV_REACH_H_
#define JAXCONV_REACH_H_

#include "columns.h"

namespace jaxconv::JAXCONV_ISA {
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
    return OffsetOf(k * flat.dilation[2] - flat.before[2]);
  }

  // Where that is which the first result reads at a position.
  int64_t OffsetOf(int64_t position) const {
    const int64_t shift = FloorDiv(position, parts), part = position - shift * parts;
    return part * count + shift - first;
  }

  // For all threads of a team, which wait for each other.
  void Copy(const Depthwise& d, const float* x, float* copy, const Member& member) const {
    CopyRows(x, d.n * d.in[0] * d.in[1], d.in[2], copy, member);
    member.Barrier();
  }

  // This thread's part of the rows.
  void CopyRows(const float* x, int64_t rows, int64_t length, float* copy,
                const Member& member) const {
    const int64_t last = member.Last(rows);
    for (int64_t row = member.First(rows); row < last; ++row) {
      if (parts == 1) {
        CopyWhole(x + row * length, length, copy + row * count);
        continue;
      }
      for (int64_t part = 0; part < parts; ++part)
        CopyPart(x + row * length, length, part, copy + (row * parts + part) * count);
    }
  }

 private:
  void CopyWhole(const float* row, int64_t length, float* copy) const {
    const int64_t from = Max(0, Min(count, -first)), to = Max(from, Min(count, length - first));
    for (int64_t i = 0; i < from; i += kLanes) Store(copy, i, Zero());
    int64_t i = from;
    for (; i + kLanes <= to; i += kLanes)
      StoreVector(copy + i, LoadVector(row + first + i));
    for (; i < count; i += kLanes)
      Store(copy, i, LoadVector(Upto(i, to), row + first + i));
  }

  // As much of a vector as there is room for.
  void Store(float* copy, int64_t i, Vector value) const {
    if (i + kLanes <= count)
      StoreVector(copy + i, value);
    else
      StoreVector(Upto(i, count), copy + i, value);
  }

  void CopyPart(const float* row, int64_t length, int64_t part, float* copy) const {
    const int64_t from = Max(0, Min(count, -first));
    const int64_t to = Max(from, Min(count, CeilDiv(length - part, parts) - first));
    for (int64_t i = 0; i < from; ++i) copy[i] = 0;
    int64_t i = from;
    // a vector is put together of as many as there are parts
    for (; i + kLanes <= Min(to, length / parts - first); i += kLanes)
      StoreVector(copy + i, Gathered(row + (first + i) * parts, part));
    for (; i < to; ++i) copy[i] = row[(first + i) * parts + part];
    for (; i < count; ++i) copy[i] = 0;
  }

  Vector Gathered(const float* at, int64_t part) const {
    LanePlaces place = LaneNumbers() * static_cast<int32_t>(parts) + static_cast<int32_t>(part);
    Vector found = Zero();
    for (int64_t v = 0; v < parts; ++v, at += kLanes) {
      found = PermutedOver(found, place, LoadVector(at));
      place -= static_cast<int32_t>(kLanes);
    }
    return found;
  }
};

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_REACH_H_
