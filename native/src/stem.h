// Dense convolutions of few input channels in float32, such as a network's first layer: a vector of
// them would be empty for the most part.
#ifndef JAXCONV_STEM_H_
#define JAXCONV_STEM_H_

#include <cstddef>
#include <cstdint>

#include "space.h"

namespace jaxconv::JAXCONV_ISA {

// Bytes of scratch memory, aligned to 64.
int64_t StemOutputScratch(const Stem& s, int64_t threads);
int64_t StemKernelScratch(const Stem& s, int64_t threads);

// y from x and w.
void StemOutput(const Stem& s, const float* x, const float* w, float* y, void* scratch,
                int64_t threads);

// w from x and y.
void StemKernel(const Stem& s, const float* x, float* w, const float* y, void* scratch,
                int64_t threads);

}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_STEM_H_
