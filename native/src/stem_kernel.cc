// Compiled once for each instruction set, JAXCONV_ISA, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "stem_rows.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// Neighbouring entries of the kernel that are summed at once: as many as there are registers for,
// beside the vectors of y.
constexpr int MostEntries(int width) {
  return width == 2 ? ByRegisters(12, 6) : width == 3 ? ByRegisters(8, 4) : 6;
}

// Results of a row that are taken together: they stay in the first cache.
constexpr int64_t kTaken = 64;

// Some results of a row in the outputs of a block, `channels` of `outputs`. What one reads is
// `step` floats behind what the one before does, the sums of two entries are `pitch` apart.
struct Taken {
  int64_t count, step, channels, outputs, pitch;
  const float* y;
};

// Adds what they give to the sums of neighbouring entries.
template <int width, int entries>
void Add(const Taken& taken, const float* x, float* sums) {
  const Lanes<width, true> lanes(taken.channels);
  Vector sum[entries][width];
  JAXCONV_UNROLL for (int e = 0; e < entries; ++e) {
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) sum[e][v] = Zero();
  }
  const float* y = taken.y;
  for (int64_t t = 0; t < taken.count; ++t, x += taken.step, y += taken.outputs) {
    Vector at[width];
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) at[v] = lanes.Load(y, v);
    JAXCONV_UNROLL for (int e = 0; e < entries; ++e) {
      const Vector value = Repeat(x[e]);
      JAXCONV_UNROLL for (int v = 0; v < width; ++v)
        sum[e][v] = MultiplyAdd(value, at[v], sum[e][v]);
    }
  }
  JAXCONV_UNROLL for (int e = 0; e < entries; ++e) {
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) {
      float* const own = sums + e * taken.pitch + v * kLanes;
      StoreVector(own, LoadVector(own) + sum[e][v]);
    }
  }
}

using Adder = void (*)(const Taken&, const float*, float*);

template <int width, int entries = MostEntries(width)>
Adder AdderOf(int64_t wanted) {
  if constexpr (entries > 1) {
    if (wanted < entries) return AdderOf<width, entries - 1>(wanted);
  }
  return &Add<width, entries>;
}

// Neighbouring entries, in parts of at most as many as are summed at once, as even as can be: the
// first `wider` of one more than `each`.
struct Split {
  int64_t count, each, wider;
  Adder wide, narrow;

  template <int width>
  static Split Of(int64_t entries) {
    const int64_t count = CeilDiv(entries, MostEntries(width)), each = entries / count;
    return {count, each, entries % count, AdderOf<width>(each + 1), AdderOf<width>(each)};
  }

  static Split Of(int64_t width, int64_t entries) {
    return width == 2 ? Of<2>(entries) : width == 3 ? Of<3>(entries) : Of<kMostWidth>(entries);
  }

  void AddAll(const Taken& taken, const float* x, float* sums) const {
    for (int64_t part = 0; part < count; ++part) {
      const bool more = part < wider;
      (more ? wide : narrow)(taken, x, sums);
      x += each + more;
      sums += (each + more) * taken.pitch;
    }
  }
};

// What all threads read. Of the entries of a row of the kernel `run` each are neighbours in x.
struct Gradient {
  const Stem& s;
  CopiedRows rows;
  Blocks blocks;
  const float *copy, *y;
  const int64_t* offsets;
  int64_t run;
  Split narrow, wide;  // for blocks of blocks.width vectors, and of one more

  void Add(const Row& row, int64_t first, float* sums) const {
    const int64_t of_row = s.kernel[2] * s.inputs, pitch = blocks.vectors * kLanes;
    const int64_t step = s.stride[2] * s.inputs;
    for (int64_t block = 0; block < blocks.count; ++block) {
      const int64_t from = blocks.First(block) * kLanes, width = blocks.Width(block) * kLanes;
      const Split& split = block < blocks.wider ? wide : narrow;
      const Taken taken{Min(kTaken, s.out[2] - first), step, Min(s.outputs - from, width),
                        s.outputs, pitch,
                        y + (row.number * s.out[2] + first) * s.outputs + from};
      float* own = sums + from;
      rows.EachRow(s, row, [&](int64_t read) {
        const float* const x = copy + read * rows.pitch + first * step;
        for (int64_t e = 0; e < of_row && read < rows.rows; e += run)
          split.AddAll(taken, x + offsets[e], own + e * pitch);
        own += of_row * pitch;
      });
    }
  }
};

int64_t SumBytes(const Stem& s) {
  return s.taps() * s.inputs * Blocks::Of(s).vectors * kLanes * sizeof(float);
}

int64_t Units(const Stem& s) { return Row::Count(s) * CeilDiv(s.out[2], kTaken); }

int64_t Parts(const Stem& s, int64_t threads) {
  return Min(Units(s), threads == 1 ? 1 : 4 * threads);
}

}  // namespace

int64_t StemKernelScratch(const Stem& s, int64_t threads) {
  return CopiedRows::Of(s, 1, 1).Bytes() + CopiedRows::OffsetBytes(s) +
         Parts(s, threads) * SumBytes(s);
}

void StemKernel(const Stem& s, const float* x, float* w, const float* y, void* scratch,
                int64_t threads) {
  const Blocks blocks = Blocks::Of(s);
  const CopiedRows rows = CopiedRows::Of(s, 1, 1);
  float* const copy = static_cast<float*>(scratch);
  int64_t* const offsets = reinterpret_cast<int64_t*>(copy + rows.Bytes() / sizeof(float));
  float* const all =
      reinterpret_cast<float*>(offsets + CopiedRows::OffsetBytes(s) / sizeof(int64_t));
  rows.FindOffsets(s, offsets);
  const int64_t run = (s.dilation[2] == 1 ? s.kernel[2] : 1) * s.inputs;
  const Gradient gradient{s, rows, blocks, copy, y, offsets, run, Split::Of(blocks.width, run),
                          Split::Of(blocks.width + 1, run)};
  const int64_t pitch = blocks.vectors * kLanes, sums = SumBytes(s) / sizeof(float);
  const int64_t chunks = CeilDiv(s.out[2], kTaken), units = Units(s), parts = Parts(s, threads);
  Tasks tasks;
  OnTeam(threads, [&](const Member& member) {
    rows.Copy(s, x, copy, member);
    for (int64_t part; (part = tasks.Take()) < parts;) {
      float* const own = all + part * sums;
      for (int64_t i = 0; i < sums; ++i) own[i] = 0;
      const int64_t from = part * units / parts, to = (part + 1) * units / parts;
      Row row = Row::Of(s, from / chunks);
      int64_t first = from % chunks * kTaken;
      for (int64_t unit = from; unit < to; ++unit) {
        gradient.Add(row, first, own);
        first += kTaken;
        if (first < s.out[2]) continue;
        first = 0;
        row.Advance(s);
      }
    }
    member.Barrier();
    const int64_t entries = s.taps() * s.inputs;
    for (int64_t e = member.First(entries); e < member.Last(entries); ++e) {
      for (int64_t o = 0; o < s.outputs; ++o) {
        const float* own = all + e * pitch + o;
        float sum = *own;
        for (int64_t part = 1; part < parts; ++part) sum += own[part * sums];
        w[e * s.outputs + o] = sum;
      }
    }
  });
}

}  // namespace jaxconv::JAXCONV_ISA
