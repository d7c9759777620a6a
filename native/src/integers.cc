#include "integers.h"

#include <new>

#include "own.h"
#include "workspace.h"

namespace jaxconv {
namespace {

void Require(bool holds, const char* message) {
  if (!holds) throw BadProblem(std::string("jaxconv_onednn: integers: ") + message);
}

// Bytes of the padded copy of x: padding may make them more than an int64 holds.
double BytesOfCopy(const IntegerLayer& s) {
  double bytes = 2.0 * static_cast<double>(s.n) * static_cast<double>(s.inputs * s.groups);
  for (int d = 0; d < 3; ++d) {
    bytes *= static_cast<double>(s.out[d] - 1) * static_cast<double>(s.stride[d]) +
             static_cast<double>(s.kernel[d] - 1) * static_cast<double>(s.dilation[d]) + 1;
  }
  return bytes;
}

constexpr double kMostBytes = int64_t{1} << 60;

}  // namespace

bool ServesIntegers() { return OwnKernel::AnyHere(); }

IntegerProblem::IntegerProblem(const Dims& x, const Dims& w, const Dims& y,
                               const Geometry& geometry, int64_t threads)
    : layer_{} {
  const auto& [stride, dilation, before, after, groups] = geometry;
  const size_t rank = w.size() < 2 ? 0 : w.size() - 2;
  Require(rank >= 1 && rank <= 3, "ranks 1 to 3 are served");
  Require(x.size() == rank + 2 && y.size() == rank + 2, "x, w and y differ in rank");
  Require(stride.size() == rank && dilation.size() == rank && before.size() == rank,
          "stride, dilation and padding must have one entry a spatial dimension");
  for (const Dims* dims : {&x, &w, &y, &stride, &dilation})
    for (int64_t size : *dims) Require(size >= 1, "sizes, stride and dilation must be at least 1");
  Require(groups >= 1 && w.back() % groups == 0, "groups do not divide w's channels");
  Require(x.front() == y.front(), "x and y differ in batch");
  Require(x.back() == w[rank] * groups, "x has not the channels of w");
  Require(y.back() == w.back(), "y has not the channels of w");
  layer_.n = x.front();
  layer_.inputs = w[rank];
  layer_.outputs = w.back() / groups;
  layer_.groups = groups;
  for (size_t to = 0; to < 3; ++to) {
    const bool there = to + rank >= 3;
    const size_t d = there ? to + rank - 3 : 0;
    layer_.in[to] = there ? x[d + 1] : 1;
    layer_.kernel[to] = there ? w[d] : 1;
    layer_.out[to] = there ? y[d + 1] : 1;
    layer_.stride[to] = there ? stride[d] : 1;
    layer_.dilation[to] = there ? dilation[d] : 1;
    layer_.before[to] = there ? before[d] : 0;
  }
  if (BytesOfCopy(layer_) > kMostBytes) throw std::bad_alloc();
  threads_ = WorthwhileThreads(x, w, y, threads);
}

void IntegerProblem::Run(IntegerArray x, IntegerArray w, int32_t* y) const {
  const Workspace workspace(avx2::IntegerScratch(layer_));
  avx2::IntegerOutput(layer_, x, w, y, workspace.at(0), threads_);
}

void IntegerProblem::RunQuantized(IntegerArray x, int32_t x_zero, IntegerArray w,
                                  const QuantizedResult& y) const {
  const Workspace workspace(avx2::IntegerScratch(layer_));
  avx2::QuantizedOutput(layer_, x, x_zero, w, y, workspace.at(0), threads_);
}

}  // namespace jaxconv
