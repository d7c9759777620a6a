// The spatial part of a convolution as this library's own kernels have it.
#ifndef JAXCONV_SPACE_H_
#define JAXCONV_SPACE_H_

#include <cstdint>

namespace jaxconv {

// `n` images of three spatial dimensions, of size one where there are fewer.
struct Space {
  int64_t n;
  int64_t in[3], kernel[3], out[3], stride[3], dilation[3], before[3];

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
};

}  // namespace jaxconv

#endif  // JAXCONV_SPACE_H_
