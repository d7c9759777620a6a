// Convolutions of single planes (and lines, and volumes) and depthwise ones of few channels in
// float32, all three contractions: so few leave the vectors of every other kernel empty.
#ifndef JAXCONV_PLANE_H_
#define JAXCONV_PLANE_H_

#include "depthwise.h"

namespace jaxconv::JAXCONV_ISA {

// All take a `Depthwise` of one channel, or of several if the last dimension is not strided, and
// `scratch` of as many bytes as is said here, aligned to 64.
int64_t PlaneOutputScratch(const Depthwise& d, int64_t threads);
int64_t PlaneInputScratch(const Depthwise& d, int64_t threads);
int64_t PlaneKernelScratch(const Depthwise& d, int64_t threads);

// y from x and w.
void PlaneOutput(const Depthwise& d, const float* x, const float* w, float* y, void* scratch,
                 int64_t threads);

// x from w and y.
void PlaneInput(const Depthwise& d, float* x, const float* w, const float* y, void* scratch,
                int64_t threads);

// w from x and y.
void PlaneKernel(const Depthwise& d, const float* x, float* w, const float* y, void* scratch,
                 int64_t threads);

}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_PLANE_H_
