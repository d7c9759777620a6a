// Compiled for AVX-512 whatever the rest is compiled for, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "reach_avx512.h"
#include "stem.h"

namespace jaxconv {
namespace {

// Vectors of outputs that are made at once.
#ifndef MW
#define MW 4
#endif
constexpr int64_t kMostWidth = MW;
// Results of a row that are made at once: as many as there are registers for, beside the entries.
constexpr int Together(int width) {
  return width == 1 ? 28 : width == 2 ? 14 : width == 3 ? 9 : 6;
}
// As many at the end of a row, where fewer are left.
constexpr int Fewer(int together) { return together == 28 ? 16 : together == 16 ? 8 : (together + 2) / 2; }

// The outputs, in blocks of at most kMostWidth vectors, as even as can be.
struct Blocks {
  int64_t vectors, count, width, wider;  // the first `wider` are of a vector more than `width`

  static Blocks Of(const Stem& s) {
    const int64_t vectors = CeilDiv(s.outputs, kLanes), count = CeilDiv(vectors, kMostWidth);
    return {vectors, count, vectors / count, vectors % count};
  }

  int64_t First(int64_t block) const { return block * width + Min(block, wider); }
};

// The entries of the kernel, block after block, each filled up to whole vectors.
void Pack(const Stem& s, const Blocks& blocks, const float* w, float* packed) {
  const int64_t entries = s.taps() * s.inputs;
  for (int64_t b = 0; b < blocks.count; ++b) {
    const int64_t first = blocks.First(b) * kLanes, last = blocks.First(b + 1) * kLanes;
    for (int64_t e = 0; e < entries; ++e) {
      for (int64_t o = first; o < last; o += kLanes, packed += kLanes) {
        const __mmask16 mask = Upto(o, s.outputs);
        _mm512_storeu_ps(packed, _mm512_maskz_loadu_ps(mask, w + e * s.outputs + o));
      }
    }
  }
}

// Floats between what neighbouring results read that are known when this is compiled, so that one
// address serves all of them: strides of 1, 2 and 4 of up to 4 channels.
constexpr int64_t kSteps[] = {1, 2, 3, 4, 6, 8, 12, 16};

inline bool IsKnown(int64_t step) {
  for (int64_t known : kSteps)
    if (step == known) return true;
  return false;
}

// What results read of a row of x, copied with zeros for its padding. Where the step is none of
// those, in as many parts, so that neighbouring results read neighbouring floats.
Reach ReachOf(const Stem& s) {
  const int64_t step = s.stride[2] * s.inputs, parts = IsKnown(step) ? 1 : step;
  const int64_t first = FloorDiv(-s.before[2] * s.inputs, parts);
  const int64_t end = ((s.kernel[2] - 1) * s.dilation[2] - s.before[2] + 1) * s.inputs - 1;
  const int64_t span = FloorDiv(end, parts) - first;
  return {parts, first, span, s.out[2], (s.out[2] + Together(1)) * step / parts + span};
}

void FindOffsets(const Stem& s, const Reach& reach, int64_t* offsets) {
  for (int64_t k2 = 0; k2 < s.kernel[2]; ++k2) {
    const int64_t position = (k2 * s.dilation[2] - s.before[2]) * s.inputs;
    for (int64_t i = 0; i < s.inputs; ++i) *offsets++ = reach.OffsetOf(position + i);
  }
}

// A row of results.
struct Row {
  int64_t n, t0, t1, number;

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

// What all threads read.
struct Layer {
  const Stem& s;
  Reach reach;
  Blocks blocks;
  const float *copy, *w;  // behind the rows of the copy, one of zeros
  float* y;
  const int64_t* offsets;  // of the entries of a row of the kernel, in a row of the copy

  // Where the entries of the kernel read for the first result of a row.
  void FindSources(const Row& row, int64_t* sources) const {
    const int64_t of_row = s.kernel[2] * s.inputs;
    for (int64_t k0 = 0; k0 < s.kernel[0]; ++k0) {
      const int64_t s0 = row.t0 * s.stride[0] + k0 * s.dilation[0] - s.before[0];
      for (int64_t k1 = 0; k1 < s.kernel[1]; ++k1) {
        const int64_t s1 = row.t1 * s.stride[1] + k1 * s.dilation[1] - s.before[1];
        const bool inside = s0 >= 0 && s0 < s.in[0] && s1 >= 0 && s1 < s.in[1];
        const int64_t read = inside ? (row.n * s.in[0] + s0) * s.in[1] + s1 : s.n * s.in[0] * s.in[1];
        const int64_t begin = read * reach.parts * reach.count;
        for (int64_t e = 0; e < of_row; ++e) *sources++ = begin + offsets[e];
      }
    }
    *sources = 0;  // one more is looked at
  }

  // The results [t, last) of a row, at most `together`, in the outputs of a block.
  template <int width, int together, int step>
  JAXCONV_INLINE void Make(const Lanes<width, true>& lanes, const int64_t* sources, int64_t count,
                           const float* entries, const float* x, float* made, int64_t left) const {
    __m512 sums[together][width];
    JAXCONV_UNROLL for (int u = 0; u < together; ++u) {
      JAXCONV_UNROLL for (int v = 0; v < width; ++v) sums[u][v] = _mm512_setzero_ps();
    }
    const float* next = x + sources[0];
    for (int64_t e = 0; e < count; ++e, entries += width * kLanes) {
      const float* read = next;
      next = x + sources[e + 1];  // early: all that follows waits for it
      asm("" : "+r"(read), "+r"(next));  // one register serves all results
      __m512 entry[width];
      JAXCONV_UNROLL for (int v = 0; v < width; ++v) entry[v] = _mm512_loadu_ps(entries + v * kLanes);
      JAXCONV_UNROLL for (int u = 0; u < together; ++u) {
        const __m512 value = _mm512_set1_ps(read[u * step]);
        JAXCONV_UNROLL for (int v = 0; v < width; ++v)
          sums[u][v] = _mm512_fmadd_ps(value, entry[v], sums[u][v]);
      }
    }
    JAXCONV_UNROLL for (int u = 0; u < together; ++u) {
      if (u >= left) break;
      JAXCONV_UNROLL for (int v = 0; v < width; ++v) lanes.Store(made + u * s.outputs, v, sums[u][v]);
    }
  }

  // The results [t, last) of a row in the outputs of a block: `together` at once, then fewer.
  template <int width, int together, int step>
  JAXCONV_INLINE void MakeSome(const Lanes<width, true>& lanes, const int64_t* sources,
                               int64_t count, const float* entries, float* made, int64_t t,
                               int64_t last) const {
    constexpr int fewer = Fewer(together);
    for (; last - t >= together || last - t > fewer; t += together) {
      Make<width, together, step>(lanes, sources, count, entries, copy + t * step,
                                  made + t * s.outputs, last - t);
    }
    if constexpr (together > 8)
      MakeSome<width, fewer, step>(lanes, sources, count, entries, made, t, last);
    else if (t < last)
      Make<width, fewer, step>(lanes, sources, count, entries, copy + t * step,
                               made + t * s.outputs, last - t);
  }

  template <int width, int step>
  __attribute__((noinline)) void MakeBlock(int64_t row, int64_t first, int64_t last,
                                           const int64_t* sources, int64_t block) const {
    const int64_t from = blocks.First(block) * kLanes, count = s.taps() * s.inputs;
    const Lanes<width, true> lanes(Min(s.outputs - from, width * kLanes));
    MakeSome<width, Together(width), step>(lanes, sources, count, w + from * count,
                                           y + row * s.out[2] * s.outputs + from, first, last);
  }

  template <int step>
  void MakeBlocks(int64_t row, int64_t first, int64_t last, const int64_t* sources) const {
    for (int64_t block = 0; block < blocks.count; ++block) {
      switch (blocks.First(block + 1) - blocks.First(block)) {
        case 1:
          MakeBlock<1, step>(row, first, last, sources, block);
          break;
        case 2:
          MakeBlock<2, step>(row, first, last, sources, block);
          break;
        case 3:
          MakeBlock<3, step>(row, first, last, sources, block);
          break;
        default:
          MakeBlock<4, step>(row, first, last, sources, block);
      }
    }
  }

  void MakeRow(int64_t row, int64_t first, int64_t last, const int64_t* sources) const {
    switch (reach.parts == 1 ? s.stride[2] * s.inputs : 1) {
      case 2:
        return MakeBlocks<2>(row, first, last, sources);
      case 3:
        return MakeBlocks<3>(row, first, last, sources);
      case 4:
        return MakeBlocks<4>(row, first, last, sources);
      case 6:
        return MakeBlocks<6>(row, first, last, sources);
      case 8:
        return MakeBlocks<8>(row, first, last, sources);
      case 12:
        return MakeBlocks<12>(row, first, last, sources);
      case 16:
        return MakeBlocks<16>(row, first, last, sources);
      default:
        return MakeBlocks<1>(row, first, last, sources);
    }
  }
};

int64_t WeightBytes(const Stem& s) {
  return Blocks::Of(s).vectors * kLanes * s.taps() * s.inputs * sizeof(float);
}

int64_t Rows(const Stem& s) { return s.n * s.in[0] * s.in[1]; }

int64_t CopyBytes(const Stem& s) {
  const Reach reach = ReachOf(s);
  return RoundToLines((Rows(s) + 1) * reach.parts * reach.count * sizeof(float));
}

int64_t OffsetBytes(const Stem& s) {
  return RoundToLines(s.kernel[2] * s.inputs * sizeof(int64_t));
}

int64_t SourceBytes(const Stem& s) { return RoundToLines((s.taps() * s.inputs + 1) * sizeof(int64_t));
}

// Results of a row that are made by one task.
constexpr int64_t kResults = 252;

}  // namespace

int64_t StemOutputScratch(const Stem& s, int64_t threads) {
  return WeightBytes(s) + CopyBytes(s) + OffsetBytes(s) + threads * SourceBytes(s);
}

void StemOutput(const Stem& s, const float* x, const float* w, float* y, void* scratch,
                int64_t threads) {
  float* const packed = static_cast<float*>(scratch);
  float* const copy = packed + WeightBytes(s) / sizeof(float);
  int64_t* const offsets = reinterpret_cast<int64_t*>(copy + CopyBytes(s) / sizeof(float));
  char* const all = reinterpret_cast<char*>(offsets) + OffsetBytes(s);
  const Reach reach = ReachOf(s);
  const Layer layer{s, reach, Blocks::Of(s), copy, packed, y, offsets};
  const int64_t chunks = CeilDiv(s.out[2], kResults), units = s.n * s.out[0] * s.out[1] * chunks;
  const int64_t parts = Min(units, threads == 1 ? 1 : 16 * threads);
  Tasks tasks;
  OnTeam(threads, [&](const Member& member) {
    if (member.thread == 0) {
      FindOffsets(s, reach, offsets);
      Pack(s, layer.blocks, w, packed);
      float* const zeros = copy + Rows(s) * reach.parts * reach.count;
      for (int64_t i = 0; i < reach.parts * reach.count; ++i) zeros[i] = 0;
    }
    reach.CopyRows(x, Rows(s), s.in[2] * s.inputs, copy, member);
    member.Barrier();
    int64_t* const sources = reinterpret_cast<int64_t*>(all + member.thread * SourceBytes(s));
    for (int64_t task; (task = tasks.Take()) < parts;) {
      const int64_t from = task * units / parts, to = (task + 1) * units / parts;
      Row row = Row::Of(s, from / chunks);
      int64_t first = from % chunks * kResults;
      for (int64_t unit = from; unit < to; ++unit) {
        if (unit == from || first == 0) layer.FindSources(row, sources);
        layer.MakeRow(row.number, first, Min(s.out[2], first + kResults), sources);
        first += kResults;
        if (first < s.out[2]) continue;
        first = 0;
        row.Advance(s);
      }
    }
  });
}

}  // namespace jaxconv
