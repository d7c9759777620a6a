// Computes convolutions by the plugin's own kernels: `compute PROBLEMS RESULTS`.
//
// PROBLEMS is a file of problems, one after the other: a `Header` and two of x, w and y, in this
// order, float32 and row-major. RESULTS becomes one of their results: whether a line kernel made it
// (int64), then the result twice. Each array ends where a page that must not be touched begins; for the second
// result, each begins where one ends.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "kernels.h"

namespace {

constexpr const jaxconv::Kernels& kKernels = jaxconv::JAXCONV_ISA::kKernels;

enum Kind : int64_t { kDepthwise, kPlane, kStem };
enum Contraction : int64_t { kOutput, kInput, kKernel };

// `channels` are those of x, `more` the channels of a group, or the outputs of a stem.
struct Header {
  int64_t kind, contraction, threads, channels, more;
  jaxconv::Space space;
};

[[noreturn]] void Fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

// Memory between two pages that must not be touched, next to one of them.
class Fenced {
 public:
  Fenced(int64_t bytes, bool at_end) {
    const int64_t page = sysconf(_SC_PAGESIZE), inside = (bytes + page - 1) / page * page;
    size_ = inside + 2 * page;
    pages_ = static_cast<char*>(
        mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (pages_ == MAP_FAILED) Fail("mmap");
    if (mprotect(pages_, page, PROT_NONE) || mprotect(pages_ + page + inside, page, PROT_NONE))
      Fail("mprotect");
    data_ = pages_ + page + (at_end ? inside - bytes : 0);
    std::memset(data_, 0xff, bytes);  // NaN, as floats
  }
  ~Fenced() { munmap(pages_, size_); }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;

  float* floats() const { return reinterpret_cast<float*>(data_); }

 private:
  char *pages_, *data_;
  int64_t size_;
};

struct Arrays {
  const Fenced &x, &w, &y;
};

template <typename Shape>
void Compute(const jaxconv::Kernels::Layer<Shape>& layer, const Shape& shape, const Header& header,
             const Arrays& arrays, bool at_end) {
  const auto scratch_bytes = header.contraction == kOutput  ? layer.output_scratch
                             : header.contraction == kInput ? layer.input_scratch
                                                            : layer.kernel_scratch;
  const int64_t bytes = scratch_bytes(shape, header.threads);
  const Fenced scratch((bytes + 63) / 64 * 64, at_end);
  float *x = arrays.x.floats(), *w = arrays.w.floats(), *y = arrays.y.floats();
  switch (header.contraction) {
    case kOutput:
      return layer.output(shape, x, w, y, scratch.floats(), header.threads);
    case kInput:
      return layer.input(shape, x, w, y, scratch.floats(), header.threads);
    default:
      return layer.kernel(shape, x, w, y, scratch.floats(), header.threads);
  }
}

// Returns whether a line kernel computes it.
bool Compute(const Header& header, const Arrays& arrays, bool at_end) {
  if (header.kind == kStem) {
    const jaxconv::Stem stem{header.space, header.channels, header.more};
    Compute(kKernels.stem, stem, header, arrays, at_end);
    return false;
  }
  const jaxconv::Depthwise depthwise{header.space, header.channels, header.more};
  const bool plane = header.kind == kPlane;
  Compute(plane ? kKernels.plane : kKernels.depthwise, depthwise, header, arrays, at_end);
  const bool gradient = header.contraction == kKernel;
  return plane && (gradient ? kKernels.line_kernel_serves : kKernels.line_serves)(depthwise);
}

void Read(void* to, int64_t bytes, FILE* file) {
  if (std::fread(to, 1, bytes, file) != static_cast<size_t>(bytes)) Fail("fread");
}

void Write(const void* from, int64_t bytes, FILE* file) {
  if (std::fwrite(from, 1, bytes, file) != static_cast<size_t>(bytes)) Fail("fwrite");
}

void Answer(const Header& header, FILE* problems, FILE* results) {
  const jaxconv::Space& s = header.space;
  const bool stem = header.kind == kStem;
  const int64_t outputs = stem ? header.more : header.channels;
  const int64_t bytes[] = {
      static_cast<int64_t>(sizeof(float)) * s.n * s.in[0] * s.in[1] * s.in[2] * header.channels,
      static_cast<int64_t>(sizeof(float)) * s.taps() * header.channels * header.more,
      static_cast<int64_t>(sizeof(float)) * s.n * s.out[0] * s.out[1] * s.out[2] * outputs};
  const int missing = header.contraction == kOutput ? 2 : header.contraction == kInput ? 0 : 1;
  const long operands = std::ftell(problems);
  for (const bool at_end : {true, false}) {
    const Fenced x(bytes[0], at_end), w(bytes[1], at_end), y(bytes[2], at_end);
    const Fenced* const arrays[] = {&x, &w, &y};
    std::fseek(problems, operands, SEEK_SET);
    for (int a = 0; a < 3; ++a)
      if (a != missing) Read(arrays[a]->floats(), bytes[a], problems);
    const int64_t line = Compute(header, {x, w, y}, at_end);
    if (at_end) Write(&line, sizeof(line), results);
    Write(arrays[missing]->floats(), bytes[missing], results);
  }
  std::fflush(results);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  FILE* const problems = std::fopen(arguments[1], "rb");
  FILE* const results = std::fopen(arguments[2], "wb");
  if (problems == nullptr || results == nullptr) Fail("fopen");
  Header header;
  while (std::fread(&header, sizeof(header), 1, problems) == 1) Answer(header, problems, results);
  return 0;
}
