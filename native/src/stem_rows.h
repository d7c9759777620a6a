// How dense layers of few input channels read x.
#ifndef JAXCONV_STEM_ROWS_H_
#define JAXCONV_STEM_ROWS_H_

#include "lanes.h"
#include "reach.h"
#include "stem.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// Vectors of outputs that are worked on at once.
constexpr int kMostWidth = ByRegisters(4, 3);

// The outputs, in blocks of at most kMostWidth vectors, as even as can be.
struct Blocks {
  int64_t vectors, count, width, wider;  // the first `wider` are of a vector more than `width`

  static Blocks Of(const Stem& s) {
    const int64_t vectors = CeilDiv(s.outputs, kLanes), count = CeilDiv(vectors, kMostWidth);
    return {vectors, count, vectors / count, vectors % count};
  }

  // Its first vector.
  int64_t First(int64_t block) const { return block * width + Min(block, wider); }
  int64_t Width(int64_t block) const { return width + (block < wider ? 1 : 0); }
};

// A row of results.
struct Row {
  int64_t n, t0, t1, number;

  static int64_t Count(const Stem& s) { return s.n * s.out[0] * s.out[1]; }

  static Row Of(const Stem& s, int64_t number) {
    const int64_t plane = number / s.out[1];
    return {plane / s.out[0], plane % s.out[0], number % s.out[1], number};
  }

  void Advance(const Stem& s) {
    ++number;
    if (++t1 < s.out[1]) return;
    t1 = 0;
    if (++t0 < s.out[0]) return;
    t0 = 0;
    ++n;
  }
};

// The rows of x, copied with zeros for their padding, and behind them one of zeros.
struct CopiedRows {
  Reach reach;
  int64_t rows, pitch;

  // With what `more` results behind a row would read.
  static CopiedRows Of(const Stem& s, int64_t parts, int64_t more) {
    const int64_t step = s.stride[2] * s.inputs / parts;
    const int64_t first = FloorDiv(-s.before[2] * s.inputs, parts);
    const int64_t end = ((s.kernel[2] - 1) * s.dilation[2] - s.before[2] + 1) * s.inputs - 1;
    const int64_t span = FloorDiv(end, parts) - first;
    const Reach reach{parts, first, span, s.out[2], (s.out[2] - 1 + more) * step + 1 + span};
    return {reach, s.n * s.in[0] * s.in[1], parts * reach.count};
  }

  int64_t Bytes() const { return RoundToLines((rows + 1) * pitch * sizeof(float)); }

  static int64_t OffsetBytes(const Stem& s) {
    return RoundToLines(s.kernel[2] * s.inputs * sizeof(int64_t));
  }

  // Where the entries of a row of the kernel read in a row of the copy, for the first result.
  void FindOffsets(const Stem& s, int64_t* offsets) const {
    for (int64_t k2 = 0; k2 < s.kernel[2]; ++k2) {
      const int64_t position = (k2 * s.dilation[2] - s.before[2]) * s.inputs;
      for (int64_t i = 0; i < s.inputs; ++i) *offsets++ = reach.OffsetOf(position + i);
    }
  }

  // For all threads of a team, which wait for each other.
  void Copy(const Stem& s, const float* x, float* copy, const Member& member) const {
    if (member.thread == 0) {
      for (int64_t i = 0; i < pitch; ++i) copy[rows * pitch + i] = 0;
    }
    reach.CopyRows(x, rows, s.in[2] * s.inputs, copy, member);
    member.Barrier();
  }

  // Calls `work` for each row of the kernel with the row that it falls on for a row of results,
  // the one of zeros if it is outside.
  template <typename Work>
  JAXCONV_INLINE void EachRow(const Stem& s, const Row& row, const Work& work) const {
    for (int64_t k0 = 0; k0 < s.kernel[0]; ++k0) {
      const int64_t s0 = row.t0 * s.stride[0] + k0 * s.dilation[0] - s.before[0];
      for (int64_t k1 = 0; k1 < s.kernel[1]; ++k1) {
        const int64_t s1 = row.t1 * s.stride[1] + k1 * s.dilation[1] - s.before[1];
        const bool inside = s0 >= 0 && s0 < s.in[0] && s1 >= 0 && s1 < s.in[1];
        work(inside ? (row.n * s.in[0] + s0) * s.in[1] + s1 : rows);
      }
    }
  }
};

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_STEM_ROWS_H_
