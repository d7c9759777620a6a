// One convolution as oneDNN sees it, checked: dimensions, dtypes, geometry, threads.
#ifndef JAXCONV_PROBLEM_H_
#define JAXCONV_PROBLEM_H_

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"

namespace jaxconv {

// The array of the trilinear form that is computed from the other two.
enum class Contraction : int64_t { kOutput = 0, kInput = 1, kKernel = 2 };

// A mistake of the caller's; it becomes INVALID_ARGUMENT.
struct BadProblem : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

using Dims = std::vector<int64_t>;

// An array as it comes from XLA: row-major, channels last.
struct Array {
  Dims shape;
  dnnl::memory::data_type dtype;
};

struct Geometry {
  Dims stride, dilation, before, after;
  int64_t groups;
};

struct Problem {
  Contraction contraction;
  int64_t threads;
  int64_t rank;
  // in oneDNN's order: x (n, in, *space), w (g, o, i, *kernel), y (n, out, *space')
  dnnl::memory::desc x, w, y;
  dnnl::memory::dims stride, dilation, before, after;
  // everything above as integers: equal keys are equal problems
  std::vector<int64_t> key;
};

// Throws BadProblem if the three arrays and the geometry do not match. It runs on at most
// `threads`, on fewer if it is small.
Problem MakeProblem(Contraction contraction, const Array& x, const Array& w, const Array& y,
                    const Geometry& geometry, int64_t threads);

// Threads that are worth their waking, of at most `threads`.
int64_t WorthwhileThreads(const Dims& x, const Dims& w, const Dims& y, int64_t threads);

}  // namespace jaxconv

#endif  // JAXCONV_PROBLEM_H_
