// Convolutions along long lines of one or few channels in float32: a vector of a line that is read
// once is the x of several entries of the kernel, each for another vector of results.
#ifndef JAXCONV_LINE_H_
#define JAXCONV_LINE_H_

#include "depthwise.h"
#include "vector.h"

namespace jaxconv::JAXCONV_ISA {

// Vectors of results that are made together: as many as there are registers for beside what is
// read.
constexpr int64_t kLineVectors = ByRegisters<int64_t>(24, 10);

// The entries of a kernel on a line. Entry k makes result t from x[t + k * step], where `step`
// divides a vector. It is w[k] or, if `vectors`, the k-th vector at w.
struct LineEntries {
  const float* w;
  int64_t count, step;
  bool vectors;
};

// Vectors of results that AddLine makes for `count` of them, which is at most kLineVectors.
int64_t LineWidth(int64_t count);

// Adds the results to `sums`, LineWidth(count) vectors of them. It reads as many vectors of x, and
// (entries.count - 1) * step floats behind them. A result sums its entries in an order that only
// entries.count and `step` tell.
void AddLine(const LineEntries& entries, const float* x, int64_t count, float* sums);

// The functions below are for kernels of one row that are long enough.
bool LineServes(const Depthwise& d);
bool LineKernelServes(const Depthwise& d);

// Bytes of scratch memory, aligned to 64.
int64_t LineScratch(const Depthwise& d, int64_t threads);
int64_t LineKernelScratch(const Depthwise& d, int64_t threads);

// y from x and w.
void LineOutput(const Depthwise& d, const float* x, const float* w, float* y, void* scratch,
                int64_t threads);

// x from w and y.
void LineInput(const Depthwise& d, float* x, const float* w, const float* y, void* scratch,
               int64_t threads);

// w from x and y.
void LineKernel(const Depthwise& d, const float* x, float* w, const float* y, void* scratch,
                int64_t threads);

}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_LINE_H_
