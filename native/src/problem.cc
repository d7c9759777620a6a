#include "problem.h"

#include <algorithm>

namespace jaxconv {
namespace {

using dnnl::memory;

std::string Text(const Dims& dims) {
  std::string text = "(";
  for (size_t d = 0; d < dims.size(); ++d) text += (d ? ", " : "") + std::to_string(dims[d]);
  return text + ")";
}

// The message is put together only where it is needed: every call is checked.
#define REQUIRE(holds, message)                                                   \
  do {                                                                            \
    if (!(holds)) throw BadProblem(std::string("jaxconv_onednn: ") + (message)); \
  } while (false)

// A line of pixels as a plane of height one.
Array AsPlane(Array array, size_t height) {
  array.shape.insert(array.shape.begin() + height, 1);
  return array;
}

Geometry AsPlane(Geometry geometry) {
  for (Dims* dims : {&geometry.stride, &geometry.dilation}) dims->insert(dims->begin(), 1);
  for (Dims* dims : {&geometry.before, &geometry.after}) dims->insert(dims->begin(), 0);
  return geometry;
}

// (n, *space, channels) as oneDNN's (n, channels, *space) with channels last in memory.
memory::desc ChannelsLast(const Array& array) {
  const size_t rank = array.shape.size() - 2;
  memory::dims dims{array.shape.front(), array.shape.back()};
  dims.insert(dims.end(), array.shape.begin() + 1, array.shape.end() - 1);
  static constexpr memory::format_tag kTags[] = {
      memory::format_tag::nwc, memory::format_tag::nhwc, memory::format_tag::ndhwc};
  return memory::desc(dims, array.dtype, kTags[rank - 1]);
}

// (*kernel, i, g * o) as oneDNN's (g, o, i, *kernel), group-major in memory; no g if it is one.
memory::desc Weights(const Array& w, int64_t groups) {
  const size_t rank = w.shape.size() - 2;
  const int64_t outputs = w.shape.back(), inputs = w.shape[rank];
  memory::dims dims{outputs / groups, inputs}, strides{1, outputs};
  int64_t step = outputs * inputs;
  memory::dims steps(rank);
  for (size_t d = rank; d-- > 0;) {
    steps[d] = step;
    step *= w.shape[d];
  }
  dims.insert(dims.end(), w.shape.begin(), w.shape.begin() + rank);
  strides.insert(strides.end(), steps.begin(), steps.end());
  if (groups > 1) {
    dims.insert(dims.begin(), groups);
    strides.insert(strides.begin(), outputs / groups);
  }
  return memory::desc(dims, w.dtype, strides);
}

void CheckShapes(const Array& x, const Array& w, const Array& y, const Geometry& geometry) {
  const auto& [stride, dilation, before, after, groups] = geometry;
  const size_t rank = w.shape.size() - 2;
  REQUIRE(w.shape.size() >= 3 && w.shape.size() <= 5,
          "w has shape " + Text(w.shape) + "; ranks 1 to 3 are served");
  REQUIRE(x.shape.size() == rank + 2 && y.shape.size() == rank + 2,
          "x" + Text(x.shape) + ", w" + Text(w.shape) + " and y" + Text(y.shape) +
              " differ in rank");
  REQUIRE(stride.size() == rank && dilation.size() == rank && before.size() == rank &&
              after.size() == rank,
          "stride, dilation and padding must have one entry a spatial dimension");
  for (const Array* array : {&x, &w, &y}) {
    for (int64_t size : array->shape) {
      REQUIRE(size >= 1, "an array of shape " + Text(array->shape) + " is empty");
    }
  }
  REQUIRE(groups >= 1 && w.shape.back() % groups == 0,
          std::to_string(groups) + " groups do not divide w" + Text(w.shape));
  REQUIRE(x.shape.front() == y.shape.front(),
          "x" + Text(x.shape) + " and y" + Text(y.shape) + " differ in batch");
  REQUIRE(x.shape.back() == w.shape[rank] * groups,
          "x" + Text(x.shape) + " has not the channels of w" + Text(w.shape) + " in " +
              std::to_string(groups) + " groups");
  REQUIRE(y.shape.back() == w.shape.back(),
          "y" + Text(y.shape) + " has not the channels of w" + Text(w.shape));
  for (size_t d = 0; d < rank; ++d) {
    REQUIRE(stride[d] >= 1 && dilation[d] >= 1, "stride and dilation must be at least 1");
    REQUIRE(before[d] >= 0 && after[d] >= 0, "padding must not be negative");
    const int64_t free =
        x.shape[d + 1] + before[d] + after[d] - (w.shape[d] - 1) * dilation[d] - 1;
    REQUIRE(free >= 0 && y.shape[d + 1] == free / stride[d] + 1,
            "y" + Text(y.shape) + " is not what x" + Text(x.shape) + " and w" + Text(w.shape) +
                " give in dimension " + std::to_string(d));
  }
}

void CheckDtypes(Contraction contraction, const Array& x, const Array& w, const Array& y) {
  using type = memory::data_type;
  const Array& result = contraction == Contraction::kOutput  ? y
                        : contraction == Contraction::kInput ? x
                                                             : w;
  const Array& first = contraction == Contraction::kInput ? y : x;
  const Array& second = contraction == Contraction::kKernel ? y : w;
  REQUIRE(first.dtype == second.dtype, "the operands differ in dtype");
  REQUIRE(first.dtype == type::f32 || first.dtype == type::bf16 || first.dtype == type::f16,
          "the operands must be float32, bfloat16 or float16");
  REQUIRE(result.dtype == first.dtype || result.dtype == type::f32,
          "the result must have the operands' dtype or float32");
}

// Waking a thread costs as much as this many products: below, more threads only cost.
constexpr int64_t kProductsPerThread = int64_t{1} << 20;
// Reading or writing an element costs as much as this many products.
constexpr double kProductsPerElement = 4;

double Elements(const Dims& shape) {
  double count = 1;
  for (int64_t size : shape) count *= static_cast<double>(size);
  return count;
}

void Append(std::vector<int64_t>& key, const Dims& values) {
  key.push_back(static_cast<int64_t>(values.size()));
  key.insert(key.end(), values.begin(), values.end());
}

}  // namespace

int64_t WorthwhileThreads(const Dims& x, const Dims& w, const Dims& y, int64_t threads) {
  const double products = Elements(y) * Elements(w) / static_cast<double>(w.back());
  const double work = products + kProductsPerElement * (Elements(x) + Elements(y));
  const double worth = work / static_cast<double>(kProductsPerThread);
  return worth >= static_cast<double>(threads) ? threads
                                               : std::max<int64_t>(1, static_cast<int64_t>(worth));
}

Problem MakeProblem(Contraction contraction, const Array& x, const Array& w, const Array& y,
                    const Geometry& geometry, int64_t threads) {
  CheckShapes(x, w, y, geometry);
  CheckDtypes(contraction, x, w, y);
  // oneDNN's depthwise kernels are for planes; on lines it falls to its grouped ones (4 to 7 times
  // the time)
  if (w.shape.size() == 3 && w.shape[1] == 1 && w.shape[2] == geometry.groups) {
    return MakeProblem(contraction, AsPlane(x, 1), AsPlane(w, 0), AsPlane(y, 1),
                       AsPlane(geometry), threads);
  }
  threads = WorthwhileThreads(x.shape, w.shape, y.shape, threads);
  Problem problem;
  problem.contraction = contraction;
  problem.threads = threads;
  problem.rank = static_cast<int64_t>(w.shape.size()) - 2;
  problem.x = ChannelsLast(x);
  problem.w = Weights(w, geometry.groups);
  problem.y = ChannelsLast(y);
  problem.stride = geometry.stride;
  problem.dilation = geometry.dilation;
  for (int64_t& dilation : problem.dilation) dilation -= 1;  // oneDNN counts the gaps
  problem.before = geometry.before;
  problem.after = geometry.after;
  problem.key = {static_cast<int64_t>(contraction), threads, geometry.groups};
  for (const Array* array : {&x, &w, &y}) {
    problem.key.push_back(static_cast<int64_t>(array->dtype));
    Append(problem.key, array->shape);
  }
  for (const Dims* dims : {&geometry.stride, &geometry.dilation, &geometry.before, &geometry.after})
    Append(problem.key, *dims);
  return problem;
}

}  // namespace jaxconv
