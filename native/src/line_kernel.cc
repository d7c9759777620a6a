// Compiled once for each instruction set, JAXCONV_ISA, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "columns.h"
#include "line.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// Vectors of the kernel from which on this pays: 0.1 to 0.8 of `plane_kernel.cc`'s time,
// up to 1.4 with fewer (one core of AVX-512, 2026-11).
constexpr int64_t kLeastVectors = 3;
// Entries of the kernel that are made together.
constexpr int64_t kTile = kLineVectors * kLanes;
// Results of a row that are summed up at once: their sums are added, so that no sum is of as many
// terms as the line is long.
constexpr int64_t kChunk = 256;

// Floats of the sums of a part, and of what one tile reads.
int64_t SumFloats(const Depthwise& d) { return CeilDiv(d.kernel[2] * d.c, kLanes) * kLanes; }
int64_t WindowFloats(const Depthwise& d) { return kTile + kChunk * d.stride[2] * d.c; }
int64_t PackedFloats(const Depthwise& d) { return d.c == 1 ? 0 : kChunk * kLanes; }

// Adds what results [first, first + count) of a row give to the sums of all entries: the results
// are the entries of a kernel that makes the gradient from x.
void AddChunk(const Depthwise& flat, int64_t channels, const float* x, const float* y,
              int64_t first, int64_t count, float* sums, float* scratch) {
  LineEntries results{y + first * channels, count, flat.stride[2] * channels, channels > 1};
  if (channels > 1) {
    float* packed = scratch + kTile + kChunk * results.step;
    for (int64_t t = 0; t < count; ++t)
      StoreVector(packed + t * kLanes, Repeated(results.w + t * channels, channels));
    results.w = packed;
  }
  const int64_t entries = flat.kernel[2] * channels, start = first * results.step - flat.before[2];
  for (int64_t e = 0; e < entries; e += kTile) {
    const int64_t vectors = CeilDiv(Min(kTile, entries - e), kLanes);
    const int64_t read = LineWidth(vectors) * kLanes + (count - 1) * results.step;
    alignas(64) float own[kTile];
    for (int64_t i = 0; i < kTile; ++i) own[i] = 0;
    AddLine(results, Window(x, flat.in[2], start + e, read, scratch), vectors, own);
    for (int64_t i = 0; i < vectors * kLanes; ++i) sums[e + i] += own[i];
  }
}

}  // namespace

bool LineKernelServes(const Depthwise& d) {
  const int64_t step = d.stride[2] * d.c;
  return d.kernel[0] * d.kernel[1] == 1 && d.dilation[2] == 1 && step <= kLanes &&
         kLanes % step == 0 && d.kernel[2] * d.c >= kLeastVectors * kLanes;
}

int64_t LineKernelScratch(const Depthwise& d, int64_t threads) {
  return threads * (SumFloats(d) + WindowFloats(d) + PackedFloats(d)) * sizeof(float);
}

void LineKernel(const Depthwise& d, const float* x, float* w, const float* y, void* scratch,
                int64_t threads) {
  const Depthwise flat = Flat(d);
  float* const sums_of_all = static_cast<float*>(scratch);
  float* const windows = sums_of_all + threads * SumFloats(d);
  const int64_t chunks = CeilDiv(d.out[2], kChunk), units = d.n * d.out[0] * d.out[1] * chunks;
  // One part for each thread, if all could be had: the sums are the same ones every time.
  OnTeam(threads, [&](const Member& member) {
    for (int64_t part = member.First(threads); part < member.Last(threads); ++part) {
      float* sums = sums_of_all + part * SumFloats(d);
      float* own = windows + part * (WindowFloats(d) + PackedFloats(d));
      for (int64_t i = 0; i < SumFloats(d); ++i) sums[i] = 0;
      for (int64_t unit = part * units / threads; unit < (part + 1) * units / threads; ++unit) {
        const int64_t row = unit / chunks, first = unit % chunks * kChunk;
        const int64_t s1 = row % d.out[1] * d.stride[1] - d.before[1];
        const int64_t s0 = row / d.out[1] % d.out[0] * d.stride[0] - d.before[0];
        if (s0 < 0 || s0 >= d.in[0] || s1 < 0 || s1 >= d.in[1]) continue;
        const int64_t line = (row / d.out[1] / d.out[0] * d.in[0] + s0) * d.in[1] + s1;
        AddChunk(flat, d.c, x + line * flat.in[2], y + row * flat.out[2], first,
                 Min(kChunk, d.out[2] - first), sums, own);
      }
    }
    member.Barrier();
    const int64_t entries = d.kernel[2] * d.c;
    for (int64_t e = member.First(entries); e < member.Last(entries); ++e) {
      float sum = sums_of_all[e];
      for (int64_t part = 1; part < threads; ++part) sum += sums_of_all[part * SumFloats(d) + e];
      w[e] = sum;
    }
  });
}

}  // namespace jaxconv::JAXCONV_ISA
