// Compiled once for each instruction set, JAXCONV_ISA, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "line.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// Entries, each a vector apart, that share what they read.
constexpr int kSharing = 4;

// Adds what `sharing` entries give, whose numbers are `apart` floats from each other.
template <int sharing, int wide, bool vectors>
inline void Share(const float* x, const float* w, int64_t apart, Vector (&sums)[wide]) {
  Vector entries[sharing];
  JAXCONV_UNROLL for (int e = 0; e < sharing; ++e)
    entries[e] = vectors ? LoadVector(w + e * apart) : Repeat(w[e * apart]);
  JAXCONV_UNROLL for (int p = 0; p < wide + sharing - 1; ++p) {
    const Vector value = LoadVector(x + p * kLanes);
    JAXCONV_UNROLL for (int e = 0; e < sharing; ++e) {
      if (p - e < 0 || p - e >= wide) continue;
      sums[p - e] = MultiplyAdd(value, entries[e], sums[p - e]);
    }
  }
}

template <int wide, bool vectors>
void Add(const LineEntries& all, const float* x, float* result) {
  Vector sums[wide];
  JAXCONV_UNROLL for (int v = 0; v < wide; ++v) sums[v] = LoadVector(result + v * kLanes);
  const int64_t period = kLanes / all.step, size = vectors ? kLanes : 1, apart = period * size;
  const int64_t each = all.count / period, more = all.count % period;
  for (int64_t first = 0; first < period; ++first) {
    const float *at = x + first * all.step, *w = all.w + first * size;
    int64_t left = each + (first < more ? 1 : 0);
    for (; left >= kSharing; left -= kSharing) {
      Share<kSharing, wide, vectors>(at, w, apart, sums);
      at += kSharing * kLanes;
      w += kSharing * apart;
    }
    if (left == 3) Share<3, wide, vectors>(at, w, apart, sums);
    if (left == 2) Share<2, wide, vectors>(at, w, apart, sums);
    if (left == 1) Share<1, wide, vectors>(at, w, apart, sums);
  }
  JAXCONV_UNROLL for (int v = 0; v < wide; ++v) StoreVector(result + v * kLanes, sums[v]);
}

template <bool vectors>
void AddOf(const LineEntries& entries, const float* x, int64_t width, float* sums) {
  switch (width) {
    case 2:
      return Add<2, vectors>(entries, x, sums);
    case 4:
      return Add<4, vectors>(entries, x, sums);
    case 8:
      return Add<8, vectors>(entries, x, sums);
    case 16:
      return Add<Min(16, kLineVectors), vectors>(entries, x, sums);
    default:
      return Add<kLineVectors, vectors>(entries, x, sums);
  }
}

}  // namespace

int64_t LineWidth(int64_t count) {
  int64_t width = 2;
  while (width < count) width *= 2;
  return Min(width, kLineVectors);
}

void AddLine(const LineEntries& entries, const float* x, int64_t count, float* sums) {
  if (entries.vectors)
    AddOf<true>(entries, x, LineWidth(count), sums);
  else
    AddOf<false>(entries, x, LineWidth(count), sums);
}

}  // namespace jaxconv::JAXCONV_ISA
