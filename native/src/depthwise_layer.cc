// Compiled once for each instruction set, JAXCONV_ISA, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "depthwise.h"
#include "lanes.h"
#include "team.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// A row of the kernel along its last dimension, and the row of the source that it falls on: where
// the two begin.
struct Line {
  int64_t source, weights;
};

// An entry of such a row: where it begins, the position that it reads for the first result of a
// run, and for which results of the run there is something to read.
struct Tap {
  int64_t weights, source, first, last;
};

// Results first, first + step, ... along the last dimension, all made by the same taps.
struct Run {
  int64_t first, count, taps, tap_count;
};

// Results of a run that are made by one task.
constexpr int64_t kChunk = ByRegisters<int64_t>(14, 12);
// Results that are summed at once: as many as there are registers for, beside the entries.
constexpr int Together(int width) {
  return width == 1 ? ByRegisters(14, 6) : ByRegisters(7, 4);
}
// Neighbouring entries that share what they read, at most.
constexpr int Sharing(int width) { return width == 1 ? 4 : ByRegisters(4, 3); }
// What a core's second cache surely holds, in floats.
constexpr int64_t kCached = int64_t{1} << 17;

// A contraction that gathers: `result` from `source` and the kernel.
struct Gather {
  const Depthwise& d;
  bool transposed;
  const int64_t* result() const { return transposed ? d.in : d.out; }
  const int64_t* source() const { return transposed ? d.out : d.in; }
  int64_t result_step() const { return transposed ? d.stride[2] : 1; }
  int64_t source_step() const { return transposed ? 1 : d.stride[2]; }

  // Where entry k of the kernel reads for result r along a dimension; -1 if nowhere.
  int64_t Source(int dim, int64_t r, int64_t k) const {
    int64_t s = transposed ? r + d.before[dim] - k * d.dilation[dim]
                           : r * d.stride[dim] + k * d.dilation[dim] - d.before[dim];
    if (s < 0) return -1;
    if (transposed) {
      if (s % d.stride[dim] != 0) return -1;
      s /= d.stride[dim];
    }
    return s < source()[dim] ? s : -1;
  }
};

// Fills `runs` and `taps` for the last dimension and returns the number of runs. The taps of a run
// are in the order of where they read.
int64_t FindRuns(const Gather& g, Run* runs, Tap* taps) {
  const Depthwise& d = g.d;
  const int64_t step = g.result_step(), results = g.result()[2], sources = g.source()[2];
  int64_t count = 0, used = 0;
  for (int64_t first = 0; first < Min(step, results); ++first) {
    Run run{first, CeilDiv(results - first, step), used, 0};
    for (int64_t place = 0; place < d.kernel[2]; ++place) {
      const int64_t k = g.transposed ? d.kernel[2] - 1 - place : place;
      int64_t source = first + d.before[2] - k * d.dilation[2];
      if (!g.transposed) source = k * d.dilation[2] - d.before[2];
      if (g.transposed) {
        if (source % d.stride[2] != 0) continue;
        source /= d.stride[2];
      }
      const int64_t from = Max(0, CeilDiv(-source, g.source_step()));
      const int64_t to = Min(run.count, CeilDiv(sources - source, g.source_step()));
      if (from < to) taps[used++] = {k * d.group * d.c, source, from, to};
    }
    run.tap_count = used - run.taps;
    runs[count++] = run;
  }
  return count;
}

int64_t FindLines(const Gather& g, int64_t row, Line* lines) {
  const Depthwise& d = g.d;
  const int64_t r1 = row % g.result()[1], r0 = row / g.result()[1] % g.result()[0];
  const int64_t n = row / (g.result()[1] * g.result()[0]);
  int64_t count = 0;
  for (int64_t k0 = 0; k0 < d.kernel[0]; ++k0) {
    const int64_t s0 = g.Source(0, r0, k0);
    if (s0 < 0) continue;
    for (int64_t k1 = 0; k1 < d.kernel[1]; ++k1) {
      const int64_t s1 = g.Source(1, r1, k1);
      if (s1 < 0) continue;
      const int64_t source = ((n * g.source()[0] + s0) * g.source()[1] + s1) * g.source()[2];
      const int64_t entry = (k0 * d.kernel[1] + k1) * d.kernel[2];
      lines[count++] = {source * d.c, entry * d.group * d.c};
    }
  }
  return count;
}

struct Lined {
  const Line* lines;
  int64_t count;
};

template <int together, int width>
using Sums = Vector[together][width];

// Adds what `sharing` taps one after the other give to `together` results one after the other:
// every position is read once. `at` is the first of them; x is a row of `sources` positions.
template <int sharing, int together, int width, bool ragged, typename Read>
JAXCONV_INLINE void Slide(const Lanes<width, ragged>& lanes, const Read& read,
                  Sums<together, width>& sums, int64_t c, const float* x, int64_t at,
                  int64_t sources, const float* w, const Tap* taps) {
  Vector entries[sharing][width];
  JAXCONV_UNROLL for (int k = 0; k < sharing; ++k) {
    JAXCONV_UNROLL for (int v = 0; v < width; ++v)
      entries[k][v] = lanes.Load(w + taps[k].weights, v);
  }
  JAXCONV_UNROLL for (int p = 0; p < together + sharing - 1; ++p) {
    if (static_cast<uint64_t>(at + p) >= static_cast<uint64_t>(sources)) continue;
    Vector values[width];
    JAXCONV_UNROLL for (int v = 0; v < width; ++v)
      values[v] = read.Load(lanes, x + (at + p) * c, v);
    JAXCONV_UNROLL for (int k = 0; k < sharing; ++k) {
      if (p - k < 0 || p - k >= together) continue;
      JAXCONV_UNROLL for (int v = 0; v < width; ++v)
        sums[p - k][v] = MultiplyAdd(values[v], entries[k][v], sums[p - k][v]);
    }
  }
}

// Adds what one tap gives, for any step between the positions read. Every result has one, if `all`.
template <bool all, int together, int width, bool ragged, typename Read>
JAXCONV_INLINE void Add(const Lanes<width, ragged>& lanes, const Read& read,
                        Sums<together, width>& sums, int64_t step, const float* x, const float* w,
                        int64_t first, int64_t last) {
  Vector entry[width];
  JAXCONV_UNROLL for (int v = 0; v < width; ++v) entry[v] = lanes.Load(w, v);
  JAXCONV_UNROLL for (int t = 0; t < together; ++t) {
    if (!all && (t < first || t >= last)) continue;
    JAXCONV_UNROLL for (int v = 0; v < width; ++v)
      sums[t][v] = MultiplyAdd(read.Load(lanes, x + t * step, v), entry[v], sums[t][v]);
  }
}

// Adds what all taps give to the results [at, at + together) of a run, for one channel of a group.
template <bool slides, int together, int width, bool ragged, typename Read>
JAXCONV_INLINE void AddLines(const Lanes<width, ragged>& lanes, const Read& read, const Gather& g,
                     const Lined& lined, const Run& run, const Tap* taps, int64_t at,
                     const float* source, const float* w, Sums<together, width>& sums) {
  const int64_t c = g.d.c, step = g.source_step(), sources = g.source()[2];
  const Tap* const end = taps + run.taps + run.tap_count;
  for (int64_t line = 0; line < lined.count; ++line) {
    const float* x = source + lined.lines[line].source;
    const float* entries = w + lined.lines[line].weights;
    const Tap* tap = taps + run.taps;
    if (slides) {
      constexpr int most = Sharing(width);
      for (; end - tap >= most; tap += most)
        Slide<most>(lanes, read, sums, c, x, at + tap->source, sources, entries, tap);
      if (most > 3 && end - tap == 3)
        Slide<3>(lanes, read, sums, c, x, at + tap->source, sources, entries, tap);
      if (end - tap == 2)
        Slide<2>(lanes, read, sums, c, x, at + tap->source, sources, entries, tap);
      if (end - tap == 1)
        Slide<1>(lanes, read, sums, c, x, at + tap->source, sources, entries, tap);
      continue;
    }
    for (; tap < end; ++tap) {
      const float* first = x + (at * step + tap->source) * c;
      if (tap->first <= at && at + together <= tap->last) {
        Add<true>(lanes, read, sums, step * c, first, entries + tap->weights, 0, together);
        continue;
      }
      Add<false>(lanes, read, sums, step * c, first, entries + tap->weights, tap->first - at,
                 tap->last - at);
    }
  }
}

// The results [at, at + together) of a run, as far as there are so many.
template <bool slides, int width, bool ragged>
void Make(const Lanes<width, ragged>& lanes, const Gather& g, const Lined& lined, const Run& run,
          const Tap* taps, int64_t at, const float* source, const float* w, float* result) {
  constexpr int together = Together(width);
  const int64_t c = g.d.c;
  Sums<together, width> sums;
  JAXCONV_UNROLL for (int t = 0; t < together; ++t) {
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) sums[t][v] = Zero();
  }
  WithGroup(g.d.group, [&](const auto& read, int64_t place) __attribute__((always_inline)) {
    AddLines<slides>(lanes, read, g, lined, run, taps, at, source, w + place * c, sums);
  });
  float* made = result + (run.first + at * g.result_step()) * c;
  JAXCONV_UNROLL for (int t = 0; t < together; ++t) {
    if (at + t >= run.count) break;
    JAXCONV_UNROLL for (int v = 0; v < width; ++v)
      lanes.Store(made + t * g.result_step() * c, v, sums[t][v]);
  }
}

// Some results of a row, in all channels from `first` to `last`.
struct Part {
  const Gather& g;
  const Tap* taps;
  const float *source, *w;
  float* result;

  void Do(const Lined& lined, int64_t row, const Run& run, int64_t at, int64_t end, int64_t first,
          int64_t last) const {
    float* own = result + row * g.result()[2] * g.d.c;
    for (int64_t c = first; c < last; c += kBlock) {
      WithLanes(Min(kBlock, last - c), [&](const auto& lanes) {
        Channels(lanes, lined, run, at, end, c, own);
      });
    }
  }

  template <int width, bool ragged>
  void Channels(const Lanes<width, ragged>& lanes, const Lined& lined, const Run& run, int64_t at,
                int64_t end, int64_t c, float* own) const {
    for (; at < end; at += Together(width)) {
      if (g.d.slides())
        Make<true>(lanes, g, lined, run, taps, at, source + c, w + c, own + c);
      else
        Make<false>(lanes, g, lined, run, taps, at, source + c, w + c, own + c);
    }
  }
};

// From one chunk of a row of results to the next.
inline void Next(const Run* runs, int64_t* run, int64_t* at) {
  *at += kChunk;
  if (*at < runs[*run].count) return;
  *at = 0;
  ++*run;
}

void GatherAll(const Gather& g, const float* source, const float* w, float* result, void* scratch,
               int64_t threads) {
  const Depthwise& d = g.d;
  Tap* taps = static_cast<Tap*>(scratch);
  Run* runs = reinterpret_cast<Run*>(taps + d.kernel[2]);
  Line* lines = reinterpret_cast<Line*>(runs + d.stride[2]);
  const int64_t run_count = FindRuns(g, runs, taps);
  int64_t chunks = 0;
  for (int64_t r = 0; r < run_count; ++r) chunks += CeilDiv(runs[r].count, kChunk);
  const Part part{g, taps, source, w, result};
  const int64_t units = d.n * g.result()[0] * g.result()[1] * chunks;
  // All channels of a place lie together in memory, so they are taken one after the other, unless
  // what a row of results reads would not stay in the cache meanwhile.
  const int64_t rows_read = Min(d.kernel[0], g.source()[0]) * Min(d.kernel[1], g.source()[1]);
  const bool by_block =
      rows_read > 1 && rows_read * (g.source()[2] + d.kernel[2]) * d.c > kCached;
  const int64_t block = by_block ? kBlock : d.c, blocks = CeilDiv(d.c, block);
  const int64_t parts = Min(units, threads == 1 ? 1 : CeilDiv(4 * threads, blocks));
  Tasks tasks;
  OnTeam(threads, [&](const Member& member) {
    Line* own = lines + member.thread * d.kernel[0] * d.kernel[1];
    for (int64_t task; (task = tasks.Take()) < blocks * parts;) {
      const int64_t first = task % parts * units / parts, last = (task % parts + 1) * units / parts;
      const int64_t c = task / parts * block;
      Lined lined{own, 0};
      int64_t row = first / chunks, run = 0, at = 0;
      for (int64_t chunk = first % chunks; chunk > 0; --chunk) Next(runs, &run, &at);
      for (int64_t unit = first; unit < last; ++unit) {
        if (unit == first || unit % chunks == 0) {
          row = unit / chunks;
          lined.count = FindLines(g, row, own);
          if (unit > first) run = at = 0;
        }
        part.Do(lined, row, runs[run], at, Min(runs[run].count, at + kChunk), c,
                Min(d.c, c + block));
        Next(runs, &run, &at);
      }
    }
  });
}

}  // namespace

int64_t DepthwiseOutputScratch(const Depthwise& d, int64_t threads) {
  return d.kernel[2] * sizeof(Tap) + d.stride[2] * sizeof(Run) +
         threads * d.kernel[0] * d.kernel[1] * sizeof(Line);
}

int64_t DepthwiseInputScratch(const Depthwise& d, int64_t threads) {
  const int64_t exchanged = d.group == 1 ? 0 : d.weights() * sizeof(float);
  return DepthwiseOutputScratch(d, threads) + exchanged;
}

void DepthwiseOutput(const Depthwise& d, const float* x, const float* w, float* y, void* scratch,
                     int64_t threads) {
  GatherAll(Gather{d, false}, x, w, y, scratch, threads);
}

void DepthwiseInput(const Depthwise& d, float* x, const float* w, const float* y, void* scratch,
                    int64_t threads) {
  if (d.group > 1) {
    char* const behind = static_cast<char*>(scratch) + DepthwiseOutputScratch(d, threads);
    float* const exchanged = reinterpret_cast<float*>(behind);
    // inputs and outputs of each group change places
    for (int64_t k = 0; k < d.taps(); ++k)
      for (int64_t i = 0; i < d.group; ++i)
        for (int64_t c = 0; c < d.c; ++c) {
          const int64_t place = c % d.group;
          exchanged[(k * d.group + place) * d.c + c - place + i] = w[(k * d.group + i) * d.c + c];
        }
    w = exchanged;
  }
  GatherAll(Gather{d, true}, y, w, x, scratch, threads);
}

}  // namespace jaxconv::JAXCONV_ISA
