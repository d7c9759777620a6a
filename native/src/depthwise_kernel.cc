// Compiled once for each instruction set, JAXCONV_ISA, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "depthwise.h"
#include "lanes.h"
#include "team.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// Outputs that are taken together where neighbours read the same: as many as there are registers
// for beside the sums.
constexpr int Sharing(int taps, int width) {
  return ByRegisters(4, static_cast<int>(Max(1, Min(4, 15 / width - taps))));
}

// The outputs t along the last dimension for which t * stride + offset is within the input.
struct Range {
  int64_t first, last;
};

Range Valid(const Depthwise& d, int64_t offset) {
  const int64_t first = Max(0, CeilDiv(-offset, d.stride[2]));
  const int64_t last = Min(d.out[2], CeilDiv(d.in[2] - offset, d.stride[2]));
  return {first, Max(first, last)};
}

// Adds x[t * stride + offset + tap * dilation] * y[t] over the t of a range to `taps` sums.
template <int taps, int width, bool ragged, typename Read>
void RowOfSums(const Lanes<width, ragged>& lanes, const Read& read, const Depthwise& d, Range range,
               const float* x, const float* y, int64_t offset, float* sums) {
  const int64_t tap = d.group * d.c;
  Vector sum[taps][width];
  JAXCONV_UNROLL for (int k = 0; k < taps; ++k)
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) sum[k][v] = lanes.Load(sums + k * tap, v);
  const int64_t step = d.stride[2] * d.c, gap = d.dilation[2] * d.c;
  x += (range.first * d.stride[2] + offset) * d.c;
  y += range.first * d.c;
  for (int64_t t = range.first; t < range.last; ++t, x += step, y += d.c) {
    Vector at[width];
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) at[v] = lanes.Load(y, v);
    JAXCONV_UNROLL for (int k = 0; k < taps; ++k)
      JAXCONV_UNROLL for (int v = 0; v < width; ++v)
        sum[k][v] = MultiplyAdd(read.Load(lanes, x + k * gap, v), at[v], sum[k][v]);
  }
  JAXCONV_UNROLL for (int k = 0; k < taps; ++k)
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) lanes.Store(sums + k * tap, v, sum[k][v]);
}

// Adds what `together` outputs from t on give to `taps` sums, where neighbouring outputs and
// neighbouring taps read neighbouring positions: each of them is read once.
template <int together, int taps, int width, bool ragged, typename Read>
JAXCONV_INLINE void Slide(const Lanes<width, ragged>& lanes, const Read& read, const Depthwise& d,
                  const float* x, const float* y, int64_t t, int64_t offset,
                  Vector (&sums)[taps][width]) {
  Vector at[together][width];
  JAXCONV_UNROLL for (int u = 0; u < together; ++u) {
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) at[u][v] = lanes.Load(y + (t + u) * d.c, v);
  }
  JAXCONV_UNROLL for (int p = 0; p < together + taps - 1; ++p) {
    const int64_t s = t + offset + p;
    if (static_cast<uint64_t>(s) >= static_cast<uint64_t>(d.in[2])) continue;
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) {
      const Vector value = read.Load(lanes, x + s * d.c, v);
      JAXCONV_UNROLL for (int k = 0; k < taps; ++k) {
        if (p - k < 0 || p - k >= together) continue;
        sums[k][v] = MultiplyAdd(value, at[p - k][v], sums[k][v]);
      }
    }
  }
}

// A whole row of outputs for `taps` neighbouring taps without strides and dilation.
template <int taps, int width, bool ragged, typename Read>
void SlideRow(const Lanes<width, ragged>& lanes, const Read& read, const Depthwise& d,
              const float* x, const float* y, int64_t offset, float* sums) {
  const int64_t tap = d.group * d.c;
  Vector sum[taps][width];
  JAXCONV_UNROLL for (int k = 0; k < taps; ++k) {
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) sum[k][v] = lanes.Load(sums + k * tap, v);
  }
  int64_t t = 0;
  constexpr int together = Sharing(taps, width);
  for (; t + together <= d.out[2]; t += together)
    Slide<together>(lanes, read, d, x, y, t, offset, sum);
  for (; t < d.out[2]; ++t) Slide<1>(lanes, read, d, x, y, t, offset, sum);
  JAXCONV_UNROLL for (int k = 0; k < taps; ++k) {
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) lanes.Store(sums + k * tap, v, sum[k][v]);
  }
}

// All taps of one row of the kernel, for one row of x and y.
template <int taps, int width, bool ragged, typename Read>
void TapsOfSums(const Lanes<width, ragged>& lanes, const Read& read, const Depthwise& d,
                const float* x, const float* y, float* sums) {
  const int64_t step = d.group * d.c;
  for (int64_t k = 0; k < d.kernel[2];) {
    const int64_t offset = k * d.dilation[2] - d.before[2];
    if (d.slides()) {
      const bool all = k + taps <= d.kernel[2];
      if (all)
        SlideRow<taps>(lanes, read, d, x, y, offset, sums + k * step);
      else
        SlideRow<1>(lanes, read, d, x, y, offset, sums + k * step);
      k += all ? taps : 1;
      continue;
    }
    const Range first = Valid(d, offset);
    if (k + taps > d.kernel[2]) {
      RowOfSums<1>(lanes, read, d, first, x, y, offset, sums + k * step);
      ++k;
      continue;
    }
    // where all of the taps see the input they are taken together, elsewhere one by one
    const Range last = Valid(d, offset + (taps - 1) * d.dilation[2]);
    const Range inner{Max(first.first, last.first), Min(first.last, last.last)};
    if (inner.first < inner.last)
      RowOfSums<taps>(lanes, read, d, inner, x, y, offset, sums + k * step);
    for (int64_t tap = k; tap < k + taps; ++tap) {
      const int64_t at = tap * d.dilation[2] - d.before[2];
      const Range all = Valid(d, at);
      if (inner.first >= inner.last) {
        RowOfSums<1>(lanes, read, d, all, x, y, at, sums + tap * step);
        continue;
      }
      const Range low{all.first, inner.first}, high{inner.last, all.last};
      if (low.first < low.last) RowOfSums<1>(lanes, read, d, low, x, y, at, sums + tap * step);
      if (high.first < high.last) RowOfSums<1>(lanes, read, d, high, x, y, at, sums + tap * step);
    }
    k += taps;
  }
}

template <int width, bool ragged, typename Read>
void SumTaps(const Lanes<width, ragged>& lanes, const Read& read, const Depthwise& d,
             const float* x, const float* y, float* sums) {
  switch (d.kernel[2]) {
    case 1:
      return TapsOfSums<1>(lanes, read, d, x, y, sums);
    case 2:
      return TapsOfSums<2>(lanes, read, d, x, y, sums);
    case 3:
      return TapsOfSums<3>(lanes, read, d, x, y, sums);
    case 4:
    case 8:
      return TapsOfSums<4>(lanes, read, d, x, y, sums);
    case 5:
    case 10:
      return TapsOfSums<5>(lanes, read, d, x, y, sums);
    case 6:
      return TapsOfSums<6>(lanes, read, d, x, y, sums);
    default:
      return TapsOfSums<7>(lanes, read, d, x, y, sums);
  }
}

// The rows [first, last) of y, counted over (n, out[0], out[1]), for channels from c on.
template <int width, bool ragged>
void SumRows(const Lanes<width, ragged>& lanes, const Depthwise& d, const float* x, const float* y,
             float* sums, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const int64_t t1 = row % d.out[1], t0 = row / d.out[1] % d.out[0];
    const int64_t n = row / (d.out[1] * d.out[0]);
    for (int64_t k0 = 0; k0 < d.kernel[0]; ++k0) {
      const int64_t s0 = t0 * d.stride[0] + k0 * d.dilation[0] - d.before[0];
      if (s0 < 0 || s0 >= d.in[0]) continue;
      for (int64_t k1 = 0; k1 < d.kernel[1]; ++k1) {
        const int64_t s1 = t1 * d.stride[1] + k1 * d.dilation[1] - d.before[1];
        if (s1 < 0 || s1 >= d.in[1]) continue;
        const int64_t line = ((n * d.in[0] + s0) * d.in[1] + s1) * d.in[2];
        float* own = sums + (k0 * d.kernel[1] + k1) * d.kernel[2] * d.group * d.c;
        WithGroup(d.group, [&](const auto& read, int64_t place) {
          SumTaps(lanes, read, d, x + line * d.c, y + row * d.out[2] * d.c, own + place * d.c);
        });
      }
    }
  }
}

// Parts that the rows of y fall into; each has sums of its own.
int64_t Parts(const Depthwise& d, int64_t threads) {
  const int64_t blocks = CeilDiv(d.c, kBlock), rows = d.n * d.out[0] * d.out[1];
  return Max(1, Min(rows, threads == 1 ? 1 : CeilDiv(4 * threads, blocks)));
}

}  // namespace

int64_t DepthwiseKernelScratch(const Depthwise& d, int64_t threads) {
  return Parts(d, threads) * d.weights() * sizeof(float);
}

void DepthwiseKernel(const Depthwise& d, const float* x, float* w, const float* y, void* scratch,
                     int64_t threads) {
  const int64_t blocks = CeilDiv(d.c, kBlock);
  const int64_t rows = d.n * d.out[0] * d.out[1], entries = d.taps() * d.group;
  const int64_t parts = Parts(d, threads);
  float* const sums = static_cast<float*>(scratch);
  Tasks tasks;
  OnTeam(threads, [&](const Member& member) {
    for (int64_t task; (task = tasks.Take()) < blocks * parts;) {
      const int64_t part = task / blocks, c = task % blocks * kBlock;
      const int64_t channels = Min(kBlock, d.c - c);
      float* own = sums + part * d.weights() + c;
      for (int64_t k = 0; k < entries; ++k)
        for (int64_t v = 0; v < channels; ++v) own[k * d.c + v] = 0;
      const int64_t first = part * rows / parts, last = (part + 1) * rows / parts;
      WithLanes(channels, [&](const auto& lanes) {
        SumRows(lanes, d, x + c, y + c, own, first, last);
      });
    }
    member.Barrier();
    for (int64_t k = member.First(d.weights()); k < member.Last(d.weights()); ++k) {
      float sum = sums[k];
      for (int64_t part = 1; part < parts; ++part) sum += sums[part * d.weights() + k];
      w[k] = sum;
    }
  });
}

}  // namespace jaxconv::JAXCONV_ISA
