// Dense convolutions of 8- and 16-bit integers with sums in int32, and such of large groups: CPUs
// without VNNI have no other fast way that is exact.
#ifndef JAXCONV_INTEGER_LAYER_H_
#define JAXCONV_INTEGER_LAYER_H_

#include <cstdint>

#include "space.h"

namespace jaxconv {

// Arrays are row-major with channels last: x (n, *in, groups * inputs), w (*kernel, inputs,
// groups * outputs), y (n, *out, groups * outputs). `before` may be negative.
struct IntegerLayer : Space {
  int64_t inputs, outputs, groups;
};

enum class IntegerType { kInt8, kUint8, kInt16 };

struct IntegerArray {
  const void* data;
  IntegerType type;
};

namespace avx2 {

// Bytes of scratch memory, aligned to 64.
int64_t IntegerScratch(const IntegerLayer& s);

// y from x and w. Sums wrap around beyond int32.
void IntegerOutput(const IntegerLayer& s, IntegerArray x, IntegerArray w, int32_t* y, void* scratch,
                   int64_t threads);

}  // namespace avx2
}  // namespace jaxconv

#endif  // JAXCONV_INTEGER_LAYER_H_
