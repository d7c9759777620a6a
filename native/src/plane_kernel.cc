// Compiled once for each instruction set, JAXCONV_ISA, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "columns.h"
#include "line.h"
#include "plane.h"
#include "reach.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// Rows of y, and entries of a row of the kernel, that are taken together: as many as there are
// registers for their sums.
constexpr int kMostRows = ByRegisters(6, 3);
constexpr int kMostEntries = 4;
// Rows of x whose sums are made in registers, one after the other: chunks of them, and what they
// meet, stay in the first cache.
constexpr int64_t kBand = 4;

// A row of y that a row of x meets, and the row of the kernel that joins them.
struct Pair {
  const float* y;
  int64_t taps;
};

// Rows of x, what they read from the chunk's first result on, and the pairs of each that are taken
// together: the same rows of the kernel for all.
struct Band {
  int64_t count;
  const float* x[kBand];
  const Pair* pairs[kBand];
};

// Vectors first, first + step, ... of a chunk of `count` results along the last dimension.
struct Range {
  int64_t first, count, step;
};

// Adds x[t + k] * y[t], over the t of a range, to the sums of `rows` pairs and `entries` entries
// of the kernel from k on. Each sum is a vector: the lanes are added in the end. An entry has
// range.step sums.
template <int rows, int entries>
void Add(const Range& range, const Band& band, const int64_t* offsets, int64_t k, float* sums) {
  Vector own[rows][entries];
  JAXCONV_UNROLL for (int r = 0; r < rows; ++r) {
    JAXCONV_UNROLL for (int e = 0; e < entries; ++e) own[r][e] = Zero();
  }
  for (int64_t b = 0; b < band.count; ++b) {
    const float *at[entries], *y[rows];
    JAXCONV_UNROLL for (int e = 0; e < entries; ++e) at[e] = band.x[b] + offsets[k + e];
    JAXCONV_UNROLL for (int r = 0; r < rows; ++r) y[r] = band.pairs[b][r].y;
    int64_t t = range.first * kLanes;
    for (; t + kLanes <= range.count; t += range.step * kLanes) {
      Vector results[rows];
      JAXCONV_UNROLL for (int r = 0; r < rows; ++r) results[r] = LoadVector(y[r] + t);
      JAXCONV_UNROLL for (int e = 0; e < entries; ++e) {
        const Vector value = LoadVector(at[e] + t);
        JAXCONV_UNROLL for (int r = 0; r < rows; ++r)
          own[r][e] = MultiplyAdd(value, results[r], own[r][e]);
      }
    }
    if (t >= range.count) continue;
    const LaneMask mask = Upto(t, range.count);
    Vector results[rows];
    JAXCONV_UNROLL for (int r = 0; r < rows; ++r)
      results[r] = LoadVector(mask, y[r] + t);
    JAXCONV_UNROLL for (int e = 0; e < entries; ++e) {
      const Vector value = LoadVector(mask, at[e] + t);
      JAXCONV_UNROLL for (int r = 0; r < rows; ++r)
        own[r][e] = MultiplyAdd(value, results[r], own[r][e]);
    }
  }
  JAXCONV_UNROLL for (int r = 0; r < rows; ++r) {
    JAXCONV_UNROLL for (int e = 0; e < entries; ++e) {
      float* sum = sums + (band.pairs[0][r].taps + k + e) * range.step * kLanes;
      StoreVector(sum, LoadVector(sum) + own[r][e]);
    }
  }
}

template <int rows>
void AddEntries(int64_t count, const Range& range, const Band& band, const int64_t* offsets,
                float* sums) {
  int64_t k = 0;
  for (; k + kMostEntries <= count; k += kMostEntries)
    Add<rows, kMostEntries>(range, band, offsets, k, sums);
  if (count - k == 3) Add<rows, 3>(range, band, offsets, k, sums);
  if (count - k == 2) Add<rows, 2>(range, band, offsets, k, sums);
  if (count - k == 1) Add<rows, 1>(range, band, offsets, k, sums);
}

template <int rows = kMostRows>
void AddPairs(int64_t wanted, int64_t count, const Range& range, const Band& band,
              const int64_t* offsets, float* sums) {
  if constexpr (rows > 1) {
    if (wanted < rows) return AddPairs<rows - 1>(wanted, count, range, band, offsets, sums);
  }
  AddEntries<rows>(count, range, band, offsets, sums);
}

// Where `at` falls among `count` results, a stride apart; -1 if between them or outside. No
// division where there is no stride: it takes as long as a row of a small kernel.
inline int64_t ResultAt(int64_t at, int64_t stride, int64_t count) {
  if (at < 0 || (stride > 1 && at % stride != 0)) return -1;
  const int64_t t = stride > 1 ? at / stride : at;
  return t < count ? t : -1;
}

// The rows of y that row (s0, s1) of x meets, from result `first` on; y is of one image.
int64_t FindPairs(const Depthwise& d, const float* y, int64_t s0, int64_t s1, int64_t first,
                  Pair* pairs) {
  int64_t count = 0;
  for (int64_t k0 = 0; k0 < d.kernel[0]; ++k0) {
    const int64_t t0 = ResultAt(s0 + d.before[0] - k0 * d.dilation[0], d.stride[0], d.out[0]);
    if (t0 < 0) continue;
    for (int64_t k1 = 0; k1 < d.kernel[1]; ++k1) {
      const int64_t t1 = ResultAt(s1 + d.before[1] - k1 * d.dilation[1], d.stride[1], d.out[1]);
      if (t1 < 0) continue;
      pairs[count++] = {y + (t0 * d.out[1] + t1) * d.out[2] + first,
                        (k0 * d.kernel[1] + k1) * d.kernel[2]};
    }
  }
  return count;
}

// Adds up the lanes that are of a channel, of the sums of an entry: kLanes / gcd(channels, kLanes)
// of them, a power of two.
void SumUp(const float* sums, int64_t count, int64_t channels, float* w) {
  for (int64_t c = 0; c < channels; ++c) {
    float lanes[kLanes] = {};
    int64_t left = 0;
    for (int64_t i = c; i < count; i += channels) lanes[left++] = sums[i];
    for (left /= 2; left > 0; left /= 2) {
      for (int64_t i = 0; i < left; ++i) lanes[i] += lanes[i + left];
    }
    w[c] = lanes[0];
  }
}

int64_t OffsetBytes(const Depthwise& d) { return RoundToLines(d.kernel[2] * sizeof(int64_t)); }

int64_t PairBytes(const Depthwise& d) {
  return RoundToLines(kBand * d.kernel[0] * d.kernel[1] * sizeof(Pair));
}

int64_t SumBytes(const Depthwise& d) { return d.taps() * PeriodOf(d) * kLanes * sizeof(float); }

// What a row of x holds for a chunk of results, and its pairs, in the order of the kernel's rows:
// the first `used` of them are done.
struct Row {
  const float* x;
  const Pair* pairs;
  int64_t count, used;

  // How many of the next ones are of rows of the kernel before `taps`, as far as they go together.
  int64_t Before(int64_t taps) const {
    int64_t end = used;
    while (end < count && pairs[end].taps < taps && end - used < kMostRows) ++end;
    return end - used;
  }

  bool Like(const Row& other, int64_t next) const {
    for (int64_t i = 0; i < next; ++i)
      if (pairs[used + i].taps != other.pairs[other.used + i].taps) return false;
    return true;
  }
};

// Rows of x along dimension 1, a chunk of results: the units that threads share. Chunks go first,
// then blocks of rows, then planes. `group` entries of the kernel, whole rows, are taken together.
struct Units {
  int64_t rows, blocks, chunks, count, chunk, period, group;

  static Units Of(const Depthwise& d, int64_t chunk, int64_t threads) {
    const int64_t chunks = CeilDiv(d.out[2] * d.c, chunk);
    const int64_t bands = CeilDiv(d.in[1], kBand * d.stride[1]);
    const bool many = d.n * d.in[0] * bands * chunks >= 8 * threads;
    const int64_t rows = (many ? kBand : 1) * d.stride[1], blocks = CeilDiv(d.in[1], rows);
    // a row of x meets each `apart`-th row of the kernel; groups of like size
    const int64_t all = d.kernel[0] * d.kernel[1];
    const int64_t apart = d.stride[1] / Gcd(d.stride[1], d.dilation[1]);
    const int64_t groups = CeilDiv(all, kMostRows * apart);
    return {rows,  blocks,      chunks, d.n * d.in[0] * blocks * chunks,
            chunk, PeriodOf(d), CeilDiv(all, groups) * d.kernel[2]};
  }
};

// One of the units.
struct Unit {
  int64_t n, s0, block, chunk;

  static Unit Of(const Depthwise& d, const Units& units, int64_t number) {
    const int64_t block = number / units.chunks, plane = block / units.blocks;
    return {plane / d.in[0], plane % d.in[0], block % units.blocks, number % units.chunks};
  }

  void Advance(const Depthwise& d, const Units& units) {
    if (++chunk < units.chunks) return;
    chunk = 0;
    if (++block < units.blocks) return;
    block = 0;
    if (++s0 < d.in[0]) return;
    s0 = 0;
    ++n;
  }
};

// Adds what the rows give to the sums. The chunk is of `results` results and begins with vector
// `first` of the row.
void AddRows(const Depthwise& d, const Units& units, Row* rows, int64_t count, int64_t first,
             int64_t results, const int64_t* offsets, float* sums) {
  const int64_t taps = d.taps(), period = units.period;
  for (int64_t end = units.group; end - units.group < taps; end += units.group) {
    for (int64_t row = 0; row < count;) {
      const int64_t together = rows[row].Before(end);
      if (together == 0) {
        ++row;
        continue;
      }
      Band band{0, {}, {}};
      for (int64_t next = row; next < count; ++next) {
        if (rows[next].Before(end) != together || !rows[next].Like(rows[row], together)) break;
        band.x[band.count] = rows[next].x;
        band.pairs[band.count++] = rows[next].pairs + rows[next].used;
      }
      for (int64_t v = 0; v < period; ++v) {
        const int64_t sum = period == 1 ? 0 : (first + v) % period;
        AddPairs(together, d.kernel[2], Range{v, results, period}, band, offsets,
                 sums + sum * kLanes);
      }
      for (int64_t b = 0; b < band.count; ++b) rows[row + b].used += together;
    }
  }
}

// What one thread works with.
struct Scratch {
  Pair* pairs;
  float *windows, *sums;

  static int64_t Bytes(const Depthwise& d, const Reach& reach) {
    return PairBytes(d) + kBand * reach.WindowBytes() + SumBytes(d);
  }

  static Scratch Of(const Depthwise& d, const Reach& reach, void* own) {
    char* const windows = static_cast<char*>(own) + PairBytes(d);
    char* const sums = windows + kBand * reach.WindowBytes();
    return {static_cast<Pair*>(own), reinterpret_cast<float*>(windows),
            reinterpret_cast<float*>(sums)};
  }
};

// The arrays, x with a copy of it if its rows are strided, and where entries read in a row.
struct Gradient {
  const Depthwise &d, &flat;
  Reach reach;
  Units units;
  const float *x, *copy, *y;
  const int64_t* offsets;

  // What row `row` of all holds for `results` results from `first` on, in place or in `window`.
  const float* Read(int64_t row, int64_t first, int64_t results, float* window) const {
    if (reach.parts > 1) return copy + row * reach.parts * reach.count + first;
    const float* begin = x + row * flat.in[2];
    return Window(begin, flat.in[2], first + reach.first, results + reach.span, window);
  }

  void Add(const Unit& unit, const Scratch& scratch) const {
    const int64_t first = unit.chunk * units.chunk, begin = unit.block * units.rows;
    const int64_t results = Min(units.chunk, flat.out[2] - first);
    const int64_t end = Min(d.in[1], begin + units.rows);
    const int64_t plane = (unit.n * d.in[0] + unit.s0) * d.in[1];
    const float* image = y + unit.n * d.out[0] * d.out[1] * flat.out[2];
    // rows whose distance is a stride meet the same rows of the kernel
    for (int64_t phase = 0; phase < d.stride[1]; ++phase) {
      Row rows[kBand];
      int64_t count = 0;
      for (int64_t at = begin + phase; at < end; at += d.stride[1], ++count) {
        Pair* pairs = scratch.pairs + count * d.kernel[0] * d.kernel[1];
        float* window = scratch.windows + count * (reach.WindowBytes() / sizeof(float));
        const int64_t found = FindPairs(flat, image, unit.s0, at, first, pairs);
        const float* read = found == 0 ? x : Read(plane + at, first, results, window);
        rows[count] = {read, pairs, found, 0};
      }
      AddRows(d, units, rows, count, first / kLanes, results, offsets, scratch.sums);
    }
  }
};

}  // namespace

int64_t PlaneKernelScratch(const Depthwise& d, int64_t threads) {
  if (LineKernelServes(d)) return LineKernelScratch(d, threads);
  const Reach reach = Reach::Of(d);
  return OffsetBytes(d) + reach.CopyBytes(d) + threads * Scratch::Bytes(d, reach);
}

void PlaneKernel(const Depthwise& d, const float* x, float* w, const float* y, void* scratch,
                 int64_t threads) {
  if (LineKernelServes(d)) return LineKernel(d, x, w, y, scratch, threads);
  const Depthwise flat = Flat(d);
  int64_t* offsets = static_cast<int64_t*>(scratch);
  const Reach reach = Reach::Of(d);
  for (int64_t k = 0; k < d.kernel[2]; ++k) offsets[k] = reach.Offset(flat, k);
  float* const copy = reinterpret_cast<float*>(static_cast<char*>(scratch) + OffsetBytes(d));
  char* const all = reinterpret_cast<char*>(copy) + reach.CopyBytes(d);
  const int64_t taps = d.taps(), sums_of_one = PeriodOf(d) * kLanes;
  float* const sums_of_all = Scratch::Of(d, reach, all).sums;
  const int64_t bytes_of_part = Scratch::Bytes(d, reach);
  const Units units = Units::Of(d, reach.chunk, threads);
  const Gradient gradient{d, flat, reach, units, x, copy, y, offsets};
  // One part for each thread, if all could be had: the sums are the same ones every time.
  OnTeam(threads, [&](const Member& member) {
    if (reach.parts > 1) reach.Copy(flat, x, copy, member);
    for (int64_t part = member.First(threads); part < member.Last(threads); ++part) {
      const Scratch own = Scratch::Of(d, reach, all + part * bytes_of_part);
      for (int64_t k = 0; k < taps * sums_of_one; ++k) own.sums[k] = 0;
      const int64_t first = part * units.count / threads;
      const int64_t last = (part + 1) * units.count / threads;
      Unit unit = Unit::Of(d, units, first);
      for (int64_t number = first; number < last; ++number, unit.Advance(d, units))
        gradient.Add(unit, own);
    }
    member.Barrier();
    for (int64_t k = member.First(taps); k < member.Last(taps); ++k) {
      float* total = sums_of_all + k * sums_of_one;
      for (int64_t part = 1; part < threads; ++part) {
        const float* more = total + part * (bytes_of_part / sizeof(float));
        for (int64_t i = 0; i < sums_of_one; ++i) total[i] += more[i];
      }
      SumUp(total, sums_of_one, d.c, w + k * d.c);
    }
  });
}

}  // namespace jaxconv::JAXCONV_ISA
