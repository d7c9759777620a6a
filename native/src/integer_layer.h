// Dense convolutions of 8- and 16-bit integers with sums in int32, and such of large groups: CPUs
// without VNNI have no other fast way that is exact.
#ifndef JAXCONV_INTEGER_LAYER_H_
#define JAXCONV_INTEGER_LAYER_H_

#include <cstdint>

#include "space.h"

namespace jaxconv {

// Arrays are row-major: w (*kernel, inputs, groups * outputs) and, with channels last,
// x (n, *in, groups * inputs) and y (n, *out, groups * outputs). `before` may be negative.
struct IntegerLayer : Space {
  int64_t inputs, outputs, groups;

  int64_t results() const { return n * out[0] * out[1] * out[2]; }
};

enum class IntegerType { kInt8, kUint8, kInt16, kInt32 };

struct IntegerArray {
  const void* data;
  IntegerType type;
};

// What is made of the sums of output channel o, in float32 where y has 8 bits:
//   int32: sum + bias[o]
//   int8, uint8: saturate(round((sum + bias[o]) * factor[o]) + zero), a half rounded to even
struct QuantizedResult {
  void* data;
  IntegerType type;
  const int32_t* bias;
  const float* factor;
  float zero;
};

namespace avx2 {

// Bytes of scratch memory, aligned to 64.
int64_t IntegerScratch(const IntegerLayer& s);

// y from x and w. Sums wrap around beyond int32.
void IntegerOutput(const IntegerLayer& s, IntegerArray x, IntegerArray w, int32_t* y, void* scratch,
                   int64_t threads);

// The same with channels first, x (n, groups * inputs, *in) of 8 bits less `x_zero`, which is what
// x has outside too, and y (n, groups * outputs, *out).
void QuantizedOutput(const IntegerLayer& s, IntegerArray x, int32_t x_zero, IntegerArray w,
                     const QuantizedResult& y, void* scratch, int64_t threads);

}  // namespace avx2
}  // namespace jaxconv

#endif  // JAXCONV_INTEGER_LAYER_H_
