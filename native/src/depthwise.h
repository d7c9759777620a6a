// The gradient of a depthwise convolution's weights in float32, which oneDNN computes fast only for
// small kernels.
#ifndef JAXCONV_DEPTHWISE_H_
#define JAXCONV_DEPTHWISE_H_

#include <cstddef>
#include <cstdint>

namespace jaxconv {

// Three spatial dimensions, of size one where there are fewer; arrays are row-major with channels
// last: x (n, *in, c), w (*kernel, c), y (n, *out, c).
struct Depthwise {
  int64_t n, c;
  int64_t in[3], kernel[3], out[3], stride[3], dilation[3], before[3];

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
};

// Whether this CPU and this number of channels are served.
bool DepthwiseServes(const Depthwise& d);

// Parts that the rows of y fall into; each has sums of its own.
int64_t DepthwiseParts(const Depthwise& d, int64_t threads);

// w from x and y; `sums` has room for parts * taps * c floats.
void DepthwiseKernel(const Depthwise& d, const float* x, float* w, const float* y, float* sums,
                     int64_t threads);

}  // namespace jaxconv

#endif  // JAXCONV_DEPTHWISE_H_
