// Convolutions of integers as XLA asks for them, checked.
#ifndef JAXCONV_INTEGERS_H_
#define JAXCONV_INTEGERS_H_

#include "integer_layer.h"
#include "problem.h"

namespace jaxconv {

// Whether this CPU can compute them, and oneDNN's limit (ONEDNN_MAX_CPU_ISA) allows it.
bool ServesIntegers();

class IntegerProblem {
 public:
  // Shapes with channels last, whatever the arrays are. Padding may be negative, and `after` is what y's shape tells. It runs
  // on at most `threads`, on fewer if it is small. Throws BadProblem if these are no convolution, and
  // std::bad_alloc if no memory holds the padded copy of x.
  IntegerProblem(const Dims& x, const Dims& w, const Dims& y, const Geometry& geometry,
                 int64_t threads);

  int64_t threads() const { return threads_; }

  void Run(IntegerArray x, IntegerArray w, int32_t* y) const;

  // With channels first, as QuantizedOutput.
  void RunQuantized(IntegerArray x, int32_t x_zero, IntegerArray w, const QuantizedResult& y) const;

 private:
  IntegerLayer layer_;
  int64_t threads_;
};

}  // namespace jaxconv

#endif  // JAXCONV_INTEGERS_H_
