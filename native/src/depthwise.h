// Depthwise convolutions in float32, and such of small groups, all three contractions: oneDNN computes
// them fast only for some ranks, kernels and numbers of channels.
#ifndef JAXCONV_DEPTHWISE_H_
#define JAXCONV_DEPTHWISE_H_

#include <cstddef>
#include <cstdint>

#include "space.h"

namespace jaxconv {

// Arrays are row-major with channels last: x (n, *in, c), w (*kernel, group, c), y (n, *out, c).
struct Depthwise : Space {
  int64_t c;
  // Channels of x, and of y, that belong together: 1, or a power of two up to 8.
  int64_t group = 1;

  int64_t weights() const { return taps() * group * c; }
  // Whether, along the last dimension, neighbours see neighbours.
  bool slides() const { return stride[2] == 1 && dilation[2] == 1; }
};

// Whether this CPU can run these kernels.
bool DepthwiseServes();

// Parts that the rows of y fall into for the gradient; each has sums of its own.
int64_t DepthwiseParts(const Depthwise& d, int64_t threads);

// w from x and y; `sums` has room for parts * weights floats.
void DepthwiseKernel(const Depthwise& d, const float* x, float* w, const float* y, float* sums,
                     int64_t threads);

// Bytes of scratch memory for the other two, aligned to 8.
int64_t DepthwiseOutputScratch(const Depthwise& d, int64_t threads);
int64_t DepthwiseInputScratch(const Depthwise& d, int64_t threads);

// y from x and w.
void DepthwiseOutput(const Depthwise& d, const float* x, const float* w, float* y, void* scratch,
                     int64_t threads);

// x from w and y.
void DepthwiseInput(const Depthwise& d, float* x, const float* w, const float* y, void* scratch,
                    int64_t threads);

}  // namespace jaxconv

#endif  // JAXCONV_DEPTHWISE_H_
