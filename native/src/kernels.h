// This library's own kernels, once for each instruction set that they are compiled for.
#ifndef JAXCONV_KERNELS_H_
#define JAXCONV_KERNELS_H_

#include <cstdint>

#include "space.h"

namespace jaxconv {

// The functions of one instruction set. Those of scratch memory return bytes, aligned to 64.
struct Kernels {
  template <typename Problem>
  using Scratch = int64_t (*)(const Problem&, int64_t threads);
  template <typename Problem>
  using Output = void (*)(const Problem&, const float* x, const float* w, float* y, void* scratch,
                          int64_t threads);
  template <typename Problem>
  using Input = void (*)(const Problem&, float* x, const float* w, const float* y, void* scratch,
                         int64_t threads);
  template <typename Problem>
  using Kernel = void (*)(const Problem&, const float* x, float* w, const float* y, void* scratch,
                          int64_t threads);

  template <typename Problem>
  struct Layer {
    Scratch<Problem> output_scratch, input_scratch, kernel_scratch;
    Output<Problem> output;
    Input<Problem> input;
    Kernel<Problem> kernel;
  };

  const char* isa;
  int64_t lanes;  // floats of a vector
  // Vectors of channels; rows of elements, whatever their channel; few input channels, which has no
  // gradient of the input.
  Layer<Depthwise> depthwise, plane;
  Layer<Stem> stem;
  // Whether `plane` computes the output and the input, and the kernel, as those of a long line.
  bool (*line_serves)(const Depthwise&);
  bool (*line_kernel_serves)(const Depthwise&);
};

namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512f {
extern const Kernels kKernels;
}
namespace neon {
extern const Kernels kKernels;
}

}  // namespace jaxconv

#endif  // JAXCONV_KERNELS_H_
