// Compiled for AVX-512 whatever the rest is compiled for, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "depthwise.h"

namespace jaxconv {
namespace {

constexpr int64_t kLanes = 16;
typedef float Vector __attribute__((vector_size(64)));
typedef float Unaligned __attribute__((vector_size(64), aligned(4), may_alias));

inline Vector Load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void Store(float* p, Vector v) { *reinterpret_cast<Unaligned*>(p) = v; }
inline int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t Max(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t CeilDiv(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// Vectors of channels that are worked on at once.
int64_t Width(int64_t c) { return c % (4 * kLanes) == 0 ? 4 : c % (2 * kLanes) == 0 ? 2 : 1; }

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
template <int taps, int width>
void RowOfSums(const Depthwise& d, Range range, const float* x, const float* y, int64_t offset,
               float* sums) {
  Vector sum[taps][width];
  for (int k = 0; k < taps; ++k)
    for (int v = 0; v < width; ++v) sum[k][v] = Load(sums + k * d.c + v * kLanes);
  const int64_t step = d.stride[2] * d.c, gap = d.dilation[2] * d.c;
  x += (range.first * d.stride[2] + offset) * d.c;
  y += range.first * d.c;
  for (int64_t t = range.first; t < range.last; ++t, x += step, y += d.c) {
    Vector at[width];
    for (int v = 0; v < width; ++v) at[v] = Load(y + v * kLanes);
    for (int k = 0; k < taps; ++k)
      for (int v = 0; v < width; ++v) sum[k][v] += Load(x + k * gap + v * kLanes) * at[v];
  }
  for (int k = 0; k < taps; ++k)
    for (int v = 0; v < width; ++v) Store(sums + k * d.c + v * kLanes, sum[k][v]);
}

// All taps of one row of the kernel, for one row of x and y.
template <int taps, int width>
void TapsOfSums(const Depthwise& d, const float* x, const float* y, float* sums) {
  for (int64_t k = 0; k < d.kernel[2];) {
    const int64_t offset = k * d.dilation[2] - d.before[2];
    const Range first = Valid(d, offset);
    if (k + taps > d.kernel[2]) {
      RowOfSums<1, width>(d, first, x, y, offset, sums + k * d.c);
      ++k;
      continue;
    }
    // where all of the taps see the input they are taken together, elsewhere one by one
    const Range last = Valid(d, offset + (taps - 1) * d.dilation[2]);
    const Range inner{Max(first.first, last.first), Min(first.last, last.last)};
    if (inner.first < inner.last) RowOfSums<taps, width>(d, inner, x, y, offset, sums + k * d.c);
    for (int64_t tap = k; tap < k + taps; ++tap) {
      const int64_t at = tap * d.dilation[2] - d.before[2];
      const Range all = Valid(d, at);
      if (inner.first >= inner.last) {
        RowOfSums<1, width>(d, all, x, y, at, sums + tap * d.c);
        continue;
      }
      const Range low{all.first, inner.first}, high{inner.last, all.last};
      if (low.first < low.last) RowOfSums<1, width>(d, low, x, y, at, sums + tap * d.c);
      if (high.first < high.last) RowOfSums<1, width>(d, high, x, y, at, sums + tap * d.c);
    }
    k += taps;
  }
}

template <int width>
void SumTaps(const Depthwise& d, const float* x, const float* y, float* sums) {
  switch (d.kernel[2]) {
    case 1:
      return TapsOfSums<1, width>(d, x, y, sums);
    case 2:
      return TapsOfSums<2, width>(d, x, y, sums);
    case 3:
      return TapsOfSums<3, width>(d, x, y, sums);
    case 4:
    case 8:
      return TapsOfSums<4, width>(d, x, y, sums);
    case 5:
    case 10:
      return TapsOfSums<5, width>(d, x, y, sums);
    case 6:
      return TapsOfSums<6, width>(d, x, y, sums);
    default:
      return TapsOfSums<7, width>(d, x, y, sums);
  }
}

// The rows [first, last) of y, counted over (n, out[0], out[1]), for channels from c on.
template <int width>
void SumRows(const Depthwise& d, const float* x, const float* y, float* sums, int64_t first,
             int64_t last) {
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
        SumTaps<width>(d, x + line * d.c, y + row * d.out[2] * d.c,
                       sums + (k0 * d.kernel[1] + k1) * d.kernel[2] * d.c);
      }
    }
  }
}

}  // namespace

bool DepthwiseServes(const Depthwise& d) {
  return __builtin_cpu_supports("avx512f") && d.c % kLanes == 0;
}

int64_t DepthwiseParts(const Depthwise& d, int64_t threads) {
  const int64_t blocks = d.c / (Width(d.c) * kLanes), rows = d.n * d.out[0] * d.out[1];
  return Max(1, Min(rows, threads == 1 ? 1 : CeilDiv(4 * threads, blocks)));
}

void DepthwiseKernel(const Depthwise& d, const float* x, float* w, const float* y, float* sums,
                     int64_t threads) {
  const int64_t width = Width(d.c), block = width * kLanes, blocks = d.c / block;
  const int64_t rows = d.n * d.out[0] * d.out[1], taps = d.taps();
  const int64_t parts = DepthwiseParts(d, threads);
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < blocks * parts; ++task) {
      const int64_t part = task / blocks, c = task % blocks * block;
      float* own = sums + part * taps * d.c + c;
      for (int64_t k = 0; k < taps; ++k)
        for (int64_t v = 0; v < block; ++v) own[k * d.c + v] = 0;
      const int64_t first = part * rows / parts, last = (part + 1) * rows / parts;
      if (width == 4) SumRows<4>(d, x + c, y + c, own, first, last);
      if (width == 2) SumRows<2>(d, x + c, y + c, own, first, last);
      if (width == 1) SumRows<1>(d, x + c, y + c, own, first, last);
    }
#pragma omp for schedule(static)
    for (int64_t k = 0; k < taps; ++k) {
      for (int64_t c = 0; c < d.c; c += kLanes) {
        Vector sum = Load(sums + k * d.c + c);
        for (int64_t part = 1; part < parts; ++part) sum += Load(sums + (part * taps + k) * d.c + c);
        Store(w + k * d.c + c, sum);
      }
    }
  }
}

}  // namespace jaxconv
