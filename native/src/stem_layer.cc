// Compiled once for each instruction set, JAXCONV_ISA, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "stem_rows.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// Results of a row that are made at once: as many as there are registers for, beside the entries.
constexpr int Together(int width) {
  return width == 2 ? ByRegisters(14, 6) : width == 3 ? ByRegisters(9, 4) : 6;
}
// As many at the end of a row, where no more are left.
constexpr int AtTheEnd(int width) { return Together(width) / 2 + 1; }

// Floats between what neighbouring results read that are known when this is compiled, so that one
// address serves all of them: strides of 1, 2 and 4 of up to 4 channels.
constexpr int64_t kSteps[] = {1, 2, 3, 4, 6, 8, 12, 16};

// Otherwise the rows of x are copied in as many parts: neighbours read neighbours there.
CopiedRows RowsOf(const Stem& s) {
  const int64_t step = s.stride[2] * s.inputs;
  for (int64_t known : kSteps)
    if (step == known) return CopiedRows::Of(s, 1, Together(2));
  return CopiedRows::Of(s, step, Together(2));
}

// The entries of the kernel, block after block, each filled up to whole vectors.
void Pack(const Stem& s, const Blocks& blocks, const float* w, float* packed) {
  const int64_t entries = s.taps() * s.inputs;
  for (int64_t b = 0; b < blocks.count; ++b) {
    const int64_t first = blocks.First(b) * kLanes, last = blocks.First(b + 1) * kLanes;
    for (int64_t e = 0; e < entries; ++e) {
      for (int64_t o = first; o < last; o += kLanes, packed += kLanes) {
        const LaneMask mask = Upto(o, s.outputs);
        StoreVector(packed, LoadVector(mask, w + e * s.outputs + o));
      }
    }
  }
}

// Some results of a row, which begins at `y`; x is its copy.
struct Part {
  int64_t first, last;
  const float* x;
  const int64_t* sources;  // of all entries, for the first result of the row, and one more
  int64_t entries;
  float* y;
  int64_t outputs;
};

// The results from t on, at most `together`, in the outputs of a block.
template <int width, int together, int step>
JAXCONV_INLINE void Make(const Lanes<width, true>& lanes, const Part& part, int64_t t,
                         const float* w, float* y) {
  Vector sums[together][width];
  JAXCONV_UNROLL for (int u = 0; u < together; ++u) {
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) sums[u][v] = Zero();
  }
  const float* const x = part.x + t * step;
  const float* next = x + part.sources[0];
  for (int64_t e = 0; e < part.entries; ++e, w += width * kLanes) {
    const float* at = next;
    next = x + part.sources[e + 1];  // early: all that follows waits for it
    asm("" : "+r"(at), "+r"(next));  // one register serves all results
    Vector entry[width];
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) entry[v] = LoadVector(w + v * kLanes);
    JAXCONV_UNROLL for (int u = 0; u < together; ++u) {
      const Vector value = Repeat(at[u * step]);
      JAXCONV_UNROLL for (int v = 0; v < width; ++v)
        sums[u][v] = MultiplyAdd(value, entry[v], sums[u][v]);
    }
  }
  float* made = y + t * part.outputs;
  JAXCONV_UNROLL for (int u = 0; u < together; ++u) {
    if (t + u >= part.last) break;
    JAXCONV_UNROLL for (int v = 0; v < width; ++v)
      lanes.Store(made + u * part.outputs, v, sums[u][v]);
  }
}

// All of them, in the outputs from `from` on; w is of these.
template <int width, int step>
__attribute__((noinline)) void MakeBlock(const Part& part, int64_t from, const float* w) {
  constexpr int together = Together(width), at_the_end = AtTheEnd(width);
  const Lanes<width, true> lanes(Min(part.outputs - from, width * kLanes));
  int64_t t = part.first;
  for (; part.last - t > at_the_end; t += together)
    Make<width, together, step>(lanes, part, t, w, part.y + from);
  if (t < part.last) Make<width, at_the_end, step>(lanes, part, t, w, part.y + from);
}

template <int step>
void MakeBlocks(const Part& part, const Blocks& blocks, const float* w) {
  for (int64_t block = 0; block < blocks.count; ++block) {
    const int64_t from = blocks.First(block) * kLanes;
    switch (blocks.Width(block)) {
      case 2:
        MakeBlock<2, step>(part, from, w + from * part.entries);
        break;
      case 3:
        MakeBlock<3, step>(part, from, w + from * part.entries);
        break;
      default:
        MakeBlock<kMostWidth, step>(part, from, w + from * part.entries);
    }
  }
}

void MakeAll(int64_t step, const Part& part, const Blocks& blocks, const float* w) {
  switch (step) {
    case 2:
      return MakeBlocks<2>(part, blocks, w);
    case 3:
      return MakeBlocks<3>(part, blocks, w);
    case 4:
      return MakeBlocks<4>(part, blocks, w);
    case 6:
      return MakeBlocks<6>(part, blocks, w);
    case 8:
      return MakeBlocks<8>(part, blocks, w);
    case 12:
      return MakeBlocks<12>(part, blocks, w);
    case 16:
      return MakeBlocks<16>(part, blocks, w);
    default:
      return MakeBlocks<1>(part, blocks, w);
  }
}

int64_t WeightBytes(const Stem& s) {
  return Blocks::Of(s).vectors * kLanes * s.taps() * s.inputs * sizeof(float);
}

int64_t SourceBytes(const Stem& s) {
  return RoundToLines((s.taps() * s.inputs + 1) * sizeof(int64_t));
}

// Results of a row that are made by one task.
constexpr int64_t kResults = 252;

}  // namespace

int64_t StemOutputScratch(const Stem& s, int64_t threads) {
  return WeightBytes(s) + RowsOf(s).Bytes() + CopiedRows::OffsetBytes(s) + threads * SourceBytes(s);
}

void StemOutput(const Stem& s, const float* x, const float* w, float* y, void* scratch,
                int64_t threads) {
  const Blocks blocks = Blocks::Of(s);
  const CopiedRows rows = RowsOf(s);
  float* const packed = static_cast<float*>(scratch);
  float* const copy = packed + WeightBytes(s) / sizeof(float);
  int64_t* const offsets = reinterpret_cast<int64_t*>(copy + rows.Bytes() / sizeof(float));
  char* const all = reinterpret_cast<char*>(offsets) + CopiedRows::OffsetBytes(s);
  const int64_t step = rows.reach.parts == 1 ? s.stride[2] * s.inputs : 1;
  const int64_t of_row = s.kernel[2] * s.inputs;
  const int64_t chunks = CeilDiv(s.out[2], kResults), units = Row::Count(s) * chunks;
  const int64_t parts = Min(units, threads == 1 ? 1 : 16 * threads);
  rows.FindOffsets(s, offsets);
  Pack(s, blocks, w, packed);
  Tasks tasks;
  OnTeam(threads, [&](const Member& member) {
    rows.Copy(s, x, copy, member);
    int64_t* const sources = reinterpret_cast<int64_t*>(all + member.thread * SourceBytes(s));
    for (int64_t task; (task = tasks.Take()) < parts;) {
      const int64_t from = task * units / parts, to = (task + 1) * units / parts;
      Row row = Row::Of(s, from / chunks);
      int64_t first = from % chunks * kResults;
      for (int64_t unit = from; unit < to; ++unit) {
        if (unit == from || first == 0) {
          int64_t* next = sources;
          rows.EachRow(s, row, [&](int64_t read) {
            for (int64_t e = 0; e < of_row; ++e) *next++ = read * rows.pitch + offsets[e];
          });
          *next = 0;
        }
        const int64_t last = Min(s.out[2], first + kResults);
        float* const made = y + row.number * s.out[2] * s.outputs;
        MakeAll(step, {first, last, copy, sources, s.taps() * s.inputs, made, s.outputs}, blocks,
                packed);
        first = last == s.out[2] ? 0 : last;
        if (first == 0) row.Advance(s);
      }
    }
  });
}

}  // namespace jaxconv::JAXCONV_ISA
