// Convolutions as this library's own kernels have them.
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

// Depthwise, or of small groups. Arrays are row-major with channels last: x (n, *in, c),
// w (*kernel, group, c), y (n, *out, c).
struct Depthwise : Space {
  int64_t c;
  // Channels of x, and of y, that belong together: 1, or a power of two up to 8 and to the floats
  // of a vector.
  int64_t group = 1;

  int64_t weights() const { return taps() * group * c; }
  // Whether, along the last dimension, neighbours see neighbours.
  bool slides() const { return stride[2] == 1 && dilation[2] == 1; }
};

// Dense, of few input channels. Arrays are row-major with channels last: x (n, *in, inputs),
// w (*kernel, inputs, outputs), y (n, *out, outputs). There are more outputs than a vector has.
struct Stem : Space {
  int64_t inputs, outputs;
};

}  // namespace jaxconv

#endif  // JAXCONV_SPACE_H_
