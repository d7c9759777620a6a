// Compiled once for each instruction set, JAXCONV_ISA, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "columns.h"
#include "line.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// Vectors that a kernel spans, and entries of one of a single channel, from which on sharing pays:
// 0.2 to 0.9 of the time of `plane_layer.cc`, 1.0 on lines of 100,000 with 32 entries, up to
// 1.4 there with fewer (one core of AVX-512, 2026-11).
constexpr int64_t kLeastSpan = 2;
constexpr int64_t kLeastEntries = 32;
// Results of a row that are made together.
constexpr int64_t kTile = kLineVectors * kLanes;

// A contraction that gathers along lines: `result` from `source` and the entries of the kernel,
// which make result 0 from source[start] on.
struct Gather {
  const Depthwise& flat;
  bool transposed;
  LineEntries entries;
  int64_t start;
  const float* source;
  float* result;

  const int64_t* result_size() const { return transposed ? flat.in : flat.out; }
  const int64_t* source_size() const { return transposed ? flat.out : flat.in; }

  // Where row r of the results reads along dimension 0 or 1; -1 if nowhere.
  int64_t Source(int dim, int64_t r) const {
    int64_t s = transposed ? r + flat.before[dim] : r * flat.stride[dim] - flat.before[dim];
    if (transposed) {
      if (s % flat.stride[dim] != 0) return -1;
      s /= flat.stride[dim];
    }
    return s < source_size()[dim] ? s : -1;
  }

  // Results [first, first + count) of row `row`, counted over (n, *result_size).
  void Make(int64_t row, int64_t first, int64_t count, float* copy) const {
    const int64_t s1 = Source(1, row % result_size()[1]);
    const int64_t s0 = Source(0, row / result_size()[1] % result_size()[0]);
    const int64_t n = row / result_size()[1] / result_size()[0], length = source_size()[2];
    const int64_t vectors = CeilDiv(count, kLanes), width = LineWidth(vectors);
    float* made = result + row * result_size()[2] + first;
    // sums that fill their vectors are made where they belong
    alignas(64) float own[kTile];
    float* const sums = width * kLanes == count ? made : own;
    for (int64_t i = 0; i < width * kLanes; ++i) sums[i] = 0;
    if (s0 >= 0 && s1 >= 0) {
      const float* line = source + ((n * source_size()[0] + s0) * source_size()[1] + s1) * length;
      const int64_t read = width * kLanes + (entries.count - 1) * entries.step;
      AddLine(entries, Window(line, length, start + first, read, copy), vectors, sums);
    }
    if (sums == made) return;
    for (int64_t i = 0; i < count; ++i) made[i] = sums[i];
  }
};

// Floats of the entries, if each is a vector of the channels or they are taken backwards.
int64_t PackedFloats(const Depthwise& d) {
  return CeilDiv(d.kernel[2] * (d.c == 1 ? 1 : kLanes), kLanes) * kLanes;
}

int64_t WindowFloats(const Depthwise& d) {
  return kTile + CeilDiv(d.kernel[2] * d.dilation[2] * d.c, kLanes) * kLanes;
}

void Pack(const Depthwise& d, bool transposed, const float* w, float* packed) {
  for (int64_t k = 0; k < d.kernel[2]; ++k) {
    const float* entry = w + (transposed ? d.kernel[2] - 1 - k : k) * d.c;
    if (d.c == 1)
      packed[k] = *entry;
    else
      StoreVector(packed + k * kLanes, Repeated(entry, d.c));
  }
}

void GatherAll(const Depthwise& d, bool transposed, const float* source, const float* w,
               float* result, void* scratch, int64_t threads) {
  const Depthwise flat = Flat(d);
  float* packed = static_cast<float*>(scratch);
  float* windows = packed + PackedFloats(d);
  const bool packs = transposed || d.c > 1;
  if (packs) Pack(d, transposed, w, packed);
  const int64_t span = (flat.kernel[2] - 1) * flat.dilation[2];
  const int64_t start = transposed ? flat.before[2] - span : -flat.before[2];
  const LineEntries entries{packs ? packed : w, d.kernel[2], flat.dilation[2], d.c > 1};
  const Gather gather{flat, transposed, entries, start, source, result};
  const int64_t* size = gather.result_size();
  const int64_t tiles = CeilDiv(size[2], kTile), units = d.n * size[0] * size[1] * tiles;
  const int64_t parts = threads == 1 ? 1 : Min(units, 16 * threads);
  Tasks tasks;
  OnTeam(threads, [&](const Member& member) {
    float* copy = windows + member.thread * WindowFloats(d);
    for (int64_t part; (part = tasks.Take()) < parts;) {
      for (int64_t unit = part * units / parts; unit < (part + 1) * units / parts; ++unit) {
        const int64_t first = unit % tiles * kTile;
        gather.Make(unit / tiles, first, Min(kTile, size[2] - first), copy);
      }
    }
  });
}

}  // namespace

bool LineServes(const Depthwise& d) {
  const int64_t step = d.dilation[2] * d.c;
  return d.kernel[0] * d.kernel[1] == 1 && d.stride[2] == 1 && step <= kLanes &&
         kLanes % step == 0 && d.kernel[2] * step >= kLeastSpan * kLanes &&
         (d.c > 1 || d.kernel[2] >= kLeastEntries);
}

int64_t LineScratch(const Depthwise& d, int64_t threads) {
  return (PackedFloats(d) + threads * WindowFloats(d)) * sizeof(float);
}

void LineOutput(const Depthwise& d, const float* x, const float* w, float* y, void* scratch,
                int64_t threads) {
  GatherAll(d, false, x, w, y, scratch, threads);
}

void LineInput(const Depthwise& d, float* x, const float* w, const float* y, void* scratch,
               int64_t threads) {
  GatherAll(d, true, y, w, x, scratch, threads);
}

}  // namespace jaxconv::JAXCONV_ISA
