// Depthwise convolutions in float32, and such of small groups, all three contractions: oneDNN
// computes them fast only for some ranks, kernels and numbers of channels.
#ifndef JAXCONV_DEPTHWISE_H_
#define JAXCONV_DEPTHWISE_H_

#include <cstddef>
#include <cstdint>

#include "space.h"

namespace jaxconv::JAXCONV_ISA {

// Bytes of scratch memory, aligned to 8.
int64_t DepthwiseOutputScratch(const Depthwise& d, int64_t threads);
int64_t DepthwiseInputScratch(const Depthwise& d, int64_t threads);
int64_t DepthwiseKernelScratch(const Depthwise& d, int64_t threads);

// y from x and w.
void DepthwiseOutput(const Depthwise& d, const float* x, const float* w, float* y, void* scratch,
                     int64_t threads);

// x from w and y.
void DepthwiseInput(const Depthwise& d, float* x, const float* w, const float* y, void* scratch,
                    int64_t threads);

// w from x and y.
void DepthwiseKernel(const Depthwise& d, const float* x, float* w, const float* y, void* scratch,
                     int64_t threads);

}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_DEPTHWISE_H_
