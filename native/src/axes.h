// Which entries of the kernel make a result, dimension by dimension.
#ifndef JAXCONV_AXES_H_
#define JAXCONV_AXES_H_

#include "columns.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// Along one dimension, the results first, first + step, ... and the entries of the kernel that make
// them: entry e is number entry + e * entry_step of w, and reads m * move + e * dilation + start
// for the m-th result.
struct Axis {
  int64_t first, step, count, entries, entry, entry_step, move, dilation, start;
};

// Of the output: all results are alike.
Axis Forward(const Depthwise& d, int dim) {
  return {0, 1, d.out[dim], d.kernel[dim], 0, 1, d.stride[dim], d.dilation[dim], -d.before[dim]};
}

// Of the input: a stride has each result made only by the entries that fall on it. They are taken
// backwards, so that what they read goes forwards.
Axis Backward(const Depthwise& d, int dim, int64_t phase) {
  const int64_t stride = d.stride[dim], dilation = d.dilation[dim], divisor = Gcd(stride, dilation);
  Axis axis{phase, stride, CeilDiv(d.in[dim] - phase, stride), 0, 0, -stride / divisor,
            1,     dilation / divisor, 0};
  int64_t k = d.kernel[dim] - 1;
  while (k >= 0 && (phase + d.before[dim] - k * dilation) % stride != 0) --k;
  if (k < 0) return axis;
  axis.entries = k / (stride / divisor) + 1;
  axis.entry = k;
  axis.start = (phase + d.before[dim] - k * dilation) / stride;
  return axis;
}

// The entries of w that make a sheet, in the order of where they read; of several channels, as many
// vectors of each as there are before the channels come again.
void Pack(const Depthwise& d, const Axis* axes, const float* w, float* packed) {
  const int64_t count = d.c == 1 ? 1 : PeriodOf(d) * kLanes;
  for (int64_t k0 = 0; k0 < axes[0].entries; ++k0) {
    for (int64_t k1 = 0; k1 < axes[1].entries; ++k1) {
      const int64_t row = (axes[0].entry + k0 * axes[0].entry_step) * d.kernel[1] + axes[1].entry +
                          k1 * axes[1].entry_step;
      for (int64_t k2 = 0; k2 < axes[2].entries; ++k2) {
        const int64_t entry = row * d.kernel[2] + axes[2].entry + k2 * axes[2].entry_step;
        for (int64_t i = 0, c = 0; i < count; ++i) {
          *packed++ = w[entry * d.c + c];
          if (++c == d.c) c = 0;
        }
      }
    }
  }
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_AXES_H_
