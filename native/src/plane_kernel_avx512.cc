// Compiled for AVX-512 whatever the rest is compiled for, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "columns_avx512.h"
#include "plane.h"

namespace jaxconv {
namespace {

// Rows of y, and entries of a row of the kernel, that are taken together: as many as there are
// registers for their sums.
constexpr int kMostRows = 6;
constexpr int kMostEntries = 4;
// Results of a row that are taken together: they and what they read stay in the first cache.
constexpr int64_t kChunk = 512;
// As many times more, where each of as many vectors has sums of its own.
constexpr int64_t kMostPeriods = 4;

// A row of y that a row of x meets, and the row of the kernel that joins them.
struct Pair {
  const float* y;
  int64_t taps;
};

// Results [first, last) along the last dimension, of `count`, as vectors; of several channels, each
// `step`-th vector from first on.
struct Range {
  int64_t first, last, count, step;
};

// Adds x[t + k] * y[t], over the t of a range, to the sums of `rows` pairs and `entries` entries
// of the kernel from k on. Each sum is a vector: the lanes are added in the end. An entry has
// range.step sums.
template <int rows, int entries>
void Add(const Range& range, const float* x, const Pair* pairs, const Column* columns, int64_t k,
         float* sums) {
  __m512 own[rows][entries];
  JAXCONV_UNROLL for (int r = 0; r < rows; ++r) {
    JAXCONV_UNROLL for (int e = 0; e < entries; ++e) own[r][e] = _mm512_setzero_ps();
  }
  const float* at[entries];
  JAXCONV_UNROLL for (int e = 0; e < entries; ++e) at[e] = x + columns[k + e].offset;
  for (int64_t t = range.first; t < range.last; t += range.step * kLanes) {
    bool inside = t + kLanes <= range.count;
    JAXCONV_UNROLL for (int e = 0; e < entries; ++e)
      inside = inside && columns[k + e].Inside(t, kLanes);
    __m512 results[rows];
    if (inside) {
      JAXCONV_UNROLL for (int r = 0; r < rows; ++r) results[r] = _mm512_loadu_ps(pairs[r].y + t);
      JAXCONV_UNROLL for (int e = 0; e < entries; ++e) {
        const __m512 value = _mm512_loadu_ps(at[e] + t);
        JAXCONV_UNROLL for (int r = 0; r < rows; ++r)
          own[r][e] = _mm512_fmadd_ps(value, results[r], own[r][e]);
      }
      continue;
    }
    const __mmask16 mask = Upto(t, range.count);
    JAXCONV_UNROLL for (int r = 0; r < rows; ++r)
      results[r] = _mm512_maskz_loadu_ps(mask, pairs[r].y + t);
    JAXCONV_UNROLL for (int e = 0; e < entries; ++e) {
      const __m512 value = _mm512_maskz_loadu_ps(columns[k + e].Mask(t) & mask, at[e] + t);
      JAXCONV_UNROLL for (int r = 0; r < rows; ++r)
        own[r][e] = _mm512_fmadd_ps(value, results[r], own[r][e]);
    }
  }
  JAXCONV_UNROLL for (int r = 0; r < rows; ++r) {
    JAXCONV_UNROLL for (int e = 0; e < entries; ++e) {
      float* sum = sums + (pairs[r].taps + k + e) * range.step * kLanes;
      _mm512_storeu_ps(sum, _mm512_add_ps(_mm512_loadu_ps(sum), own[r][e]));
    }
  }
}

template <int rows>
void AddEntries(int64_t count, const Range& range, const float* x, const Pair* pairs,
                const Column* columns, float* sums) {
  int64_t k = 0;
  for (; k + kMostEntries <= count; k += kMostEntries)
    Add<rows, kMostEntries>(range, x, pairs, columns, k, sums);
  if (count - k == 3) Add<rows, 3>(range, x, pairs, columns, k, sums);
  if (count - k == 2) Add<rows, 2>(range, x, pairs, columns, k, sums);
  if (count - k == 1) Add<rows, 1>(range, x, pairs, columns, k, sums);
}

void AddPairs(int64_t rows, int64_t count, const Range& range, const float* x, const Pair* pairs,
              const Column* columns, float* sums) {
  switch (rows) {
    case 1:
      return AddEntries<1>(count, range, x, pairs, columns, sums);
    case 2:
      return AddEntries<2>(count, range, x, pairs, columns, sums);
    case 3:
      return AddEntries<3>(count, range, x, pairs, columns, sums);
    case 4:
      return AddEntries<4>(count, range, x, pairs, columns, sums);
    case 5:
      return AddEntries<5>(count, range, x, pairs, columns, sums);
    default:
      return AddEntries<kMostRows>(count, range, x, pairs, columns, sums);
  }
}

// The rows of y that row `row` of x meets, counted over (n, in[0], in[1]).
int64_t FindPairs(const Depthwise& d, const float* y, int64_t row, Pair* pairs) {
  const int64_t s1 = row % d.in[1], s0 = row / d.in[1] % d.in[0], n = row / d.in[1] / d.in[0];
  int64_t count = 0;
  for (int64_t k0 = 0; k0 < d.kernel[0]; ++k0) {
    const int64_t at0 = s0 + d.before[0] - k0 * d.dilation[0], t0 = at0 / d.stride[0];
    if (at0 < 0 || at0 % d.stride[0] != 0 || t0 >= d.out[0]) continue;
    for (int64_t k1 = 0; k1 < d.kernel[1]; ++k1) {
      const int64_t at1 = s1 + d.before[1] - k1 * d.dilation[1], t1 = at1 / d.stride[1];
      if (at1 < 0 || at1 % d.stride[1] != 0 || t1 >= d.out[1]) continue;
      pairs[count++] = {y + ((n * d.out[0] + t0) * d.out[1] + t1) * d.out[2],
                        (k0 * d.kernel[1] + k1) * d.kernel[2]};
    }
  }
  return count;
}

// Adds up the lanes that are of a channel, of the sums of an entry: kLanes / gcd(channels, kLanes)
// of them, a power of two.
void SumUp(const float* sums, int64_t count, int64_t channels, float* w) {
  for (int64_t c = 0; c < channels; ++c) {
    float lanes[kLanes];
    int64_t left = 0;
    for (int64_t i = c; i < count; i += channels) lanes[left++] = sums[i];
    for (left /= 2; left > 0; left /= 2) {
      for (int64_t i = 0; i < left; ++i) lanes[i] += lanes[i + left];
    }
    w[c] = lanes[0];
  }
}

int64_t ColumnBytes(const Depthwise& d) { return RoundToLines(d.kernel[2] * sizeof(Column)); }

int64_t PairBytes(const Depthwise& d) {
  return RoundToLines(d.kernel[0] * d.kernel[1] * sizeof(Pair));
}

int64_t SumBytes(const Depthwise& d) { return d.taps() * PeriodOf(d) * kLanes * sizeof(float); }

}  // namespace

int64_t PlaneKernelScratch(const Depthwise& d, int64_t threads) {
  return ColumnBytes(d) + Rows::Scratch(Flat(d)) + threads * (PairBytes(d) + SumBytes(d));
}

void PlaneKernel(const Depthwise& d, const float* x, float* w, const float* y, void* scratch,
                 int64_t threads) {
  const Depthwise flat = Flat(d);
  Column* columns = static_cast<Column*>(scratch);
  for (int64_t k = 0; k < d.kernel[2]; ++k) columns[k] = Rows::ColumnOf(flat, k);
  char* pairs_of_all = static_cast<char*>(scratch) + ColumnBytes(d);
  float* sums_of_all = reinterpret_cast<float*>(pairs_of_all + threads * PairBytes(d));
  const int64_t taps = d.taps(), period = PeriodOf(d), sums_of_one = period * kLanes;
  float* copy = sums_of_all + threads * taps * sums_of_one;
  const Rows rows = Rows::Of(flat, x, copy);
  const int64_t chunk = kChunk * Min(period, kMostPeriods);
  const int64_t chunks = CeilDiv(flat.out[2], chunk), units = d.n * d.in[0] * d.in[1] * chunks;
  // One part for each thread, if all could be had: the sums are the same ones every time.
  OnTeam(threads, [&](const Member& member) {
    Rows::Copy(flat, x, copy, member);
    for (int64_t part = member.First(threads); part < member.Last(threads); ++part) {
      Pair* pairs = reinterpret_cast<Pair*>(pairs_of_all + part * PairBytes(d));
      float* sums = sums_of_all + part * taps * sums_of_one;
      for (int64_t k = 0; k < taps * sums_of_one; ++k) sums[k] = 0;
      int64_t count = 0, found = -1;
      for (int64_t unit = part * units / threads; unit < (part + 1) * units / threads; ++unit) {
        const int64_t row = unit / chunks, first = unit % chunks * chunk;
        if (row != found) count = FindPairs(flat, y, found = row, pairs);
        const float* of_x = rows.data + row * rows.pitch;
        // groups of like size
        const int64_t groups = CeilDiv(count, kMostRows);
        for (int64_t group = 0; group < groups; ++group) {
          const int64_t from = group * count / groups, to = (group + 1) * count / groups;
          for (int64_t v = 0; v < period; ++v) {
            const Range range{first + v * kLanes, Min(flat.out[2], first + chunk), flat.out[2],
                              period};
            const int64_t sum = range.first / kLanes % period;
            AddPairs(to - from, d.kernel[2], range, of_x, pairs + from, columns,
                     sums + sum * kLanes);
          }
        }
      }
    }
    member.Barrier();
    for (int64_t k = member.First(taps); k < member.Last(taps); ++k) {
      float* total = sums_of_all + k * sums_of_one;
      for (int64_t part = 1; part < threads; ++part) {
        const float* more = total + part * taps * sums_of_one;
        for (int64_t i = 0; i < sums_of_one; ++i) total[i] += more[i];
      }
      SumUp(total, sums_of_one, d.c, w + k * d.c);
    }
  });
}

}  // namespace jaxconv
