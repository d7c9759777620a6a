#include "own.h"

#include "line.h"
#include "plane.h"

namespace jaxconv {
namespace {

constexpr int64_t kVector = 16;

// Channels up to which rows of elements are read whatever their channel: 0.3 to 0.7 of the time
// that vectors of channels, or oneDNN's own kernels where they were faster, take with 3 to 5, 0.3
// to 0.9 with 7 and 8, 0.7 to 1.5 with 12 and more (3x3 to 31x31 on 128x128, lines, volumes; two
// cores of AVX-512, 2026-11).
constexpr int64_t kRowChannels = 8;
// Entries of a kernel up to which that was measured: of each, vectors for its channels are made.
constexpr int64_t kRowEntries = 1 << 14;

// Dense layers of few input channels and their gradients of the kernel, with more outputs than a
// vector has and large results: 0.4 to 1.1 of oneDNN's time (1 to 4 channels, 3x3 to 11x11, strides
// 1 to 4). With fewer outputs oneDNN needs 0.5 to 0.9 of ours, with smaller results 0.6 to 1.2 (two
// cores of AVX-512, oneDNN 3.2, 2026-11).
constexpr int64_t kStemInputs = 4, kStemResults = 1 << 19, kStemGradientResults = 1 << 18;

bool Serves(const Stem& s, Contraction contraction) {
  if (contraction == Contraction::kInput) return false;
  if (s.inputs > kStemInputs || s.outputs <= kVector) return false;
  const int64_t results = s.out[0] * s.out[1] * s.out[2] * s.outputs;
  // an image's output must not depend on the batch
  return contraction == Contraction::kOutput ? results >= kStemResults
                                             : s.n * results >= kStemGradientResults;
}

// Whether this CPU can run our kernels, and oneDNN's limit allows it.
bool Runs() {
  const auto isa = static_cast<int>(dnnl::get_effective_cpu_isa());
  constexpr int wanted = static_cast<int>(dnnl::cpu_isa::avx512_core);
  return DepthwiseServes() && (isa & wanted) == wanted;
}

Space SpaceOf(const Problem& p) {
  Space space{p.x.get_dims()[0], {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}};
  const int64_t grouped = p.w.get_ndims() - p.rank - 2;
  for (int64_t from = 0, to = 3 - p.rank; from < p.rank; ++from, ++to) {
    space.in[to] = p.x.get_dims()[from + 2];
    space.kernel[to] = p.w.get_dims()[from + grouped + 2];
    space.out[to] = p.y.get_dims()[from + 2];
    space.stride[to] = p.stride[from];
    space.dilation[to] = p.dilation[from] + 1;
    space.before[to] = p.before[from];
  }
  return space;
}

// Whether rows are read as if they were of one channel: with a few, vectors of channels are empty
// for the most part.
bool ReadsRows(const Depthwise& d) {
  if (d.group > 1) return false;
  if (d.c == 1) return true;
  return d.c <= kRowChannels && d.stride[2] == 1 && d.taps() * d.c <= kRowEntries;
}

bool IsLine(Contraction contraction, const Depthwise& d) {
  return contraction == Contraction::kKernel ? LineKernelServes(d) : LineServes(d);
}

// Channels up to which ours are the faster ones for strided depthwise layers, too.
constexpr int64_t kStridedChannels = 48;

// Whether oneDNN's depthwise kernels, where they serve, are slower. They are the faster ones for the
// gradient of the weights (0.6 to 0.8 of our time) and along strides and dilations: "jit_dw" takes
// 0.5 to 0.9, "brdgmm_dw" 0.6 to 1.0 with more than kStridedChannels, 1.0 to 5 with fewer. Elsewhere
// ours take 0.5 to 1.0 of their time. Without them oneDNN needs 2 to 45 times as long.
// Groups of 2 and 4 channels take our kernels 0.2 to 0.9 of the time of oneDNN's; of 8 those for the
// output 0.6 to 0.9 without stride, the others 0.9 to 2 (two cores of AVX-512, oneDNN 3.2, 2026-11).
bool Beats(const Depthwise& d, Contraction contraction, const std::string& name) {
  if (d.group > 1) {
    return d.group < 8 || (contraction == Contraction::kOutput && d.stride[2] == 1);
  }
  const bool jit = name.rfind("jit_dw", 0) == 0;
  if (!jit && name.rfind("brdgmm_dw", 0) != 0) return true;
  if (contraction != Contraction::kKernel && d.slides()) return true;
  return !jit && d.c <= kStridedChannels;
}

int64_t ScratchBytes(const Depthwise& d, Contraction contraction, int64_t threads) {
  const bool rows = ReadsRows(d);
  switch (contraction) {
    case Contraction::kOutput:
      return rows ? PlaneOutputScratch(d, threads) : DepthwiseOutputScratch(d, threads);
    case Contraction::kInput:
      return rows ? PlaneInputScratch(d, threads) : DepthwiseInputScratch(d, threads);
    case Contraction::kKernel:
      return rows ? PlaneKernelScratch(d, threads)
                  : DepthwiseParts(d, threads) * d.weights() * sizeof(float);
  }
  return 0;
}

void Compute(const Depthwise& d, Contraction contraction, float* x, float* w, float* y,
             void* scratch, int64_t threads) {
  const bool rows = ReadsRows(d);
  switch (contraction) {
    case Contraction::kOutput:
      if (rows) return PlaneOutput(d, x, w, y, scratch, threads);
      return DepthwiseOutput(d, x, w, y, scratch, threads);
    case Contraction::kInput:
      if (rows) return PlaneInput(d, x, w, y, scratch, threads);
      return DepthwiseInput(d, x, w, y, scratch, threads);
    case Contraction::kKernel:
      if (rows) return PlaneKernel(d, x, w, y, scratch, threads);
      return DepthwiseKernel(d, x, w, y, static_cast<float*>(scratch), threads);
  }
}

}  // namespace

std::optional<OwnKernel> OwnKernel::For(const Problem& p) {
  const auto f32 = dnnl::memory::data_type::f32;
  for (const auto* array : {&p.x, &p.w, &p.y})
    if (array->get_data_type() != f32) return std::nullopt;
  if (!Runs()) return std::nullopt;
  const int64_t grouped = p.w.get_ndims() - p.rank - 2;
  const int64_t outputs = p.w.get_dims()[grouped], inputs = p.w.get_dims()[grouped + 1];
  // depthwise, which a single plane is too, or of small groups
  if (inputs == outputs &&
      (inputs == 1 || (grouped && (inputs == 2 || inputs == 4 || inputs == 8)))) {
    return OwnKernel(p, Depthwise{SpaceOf(p), p.x.get_dims()[1], inputs});
  }
  const Stem stem{SpaceOf(p), inputs, outputs};
  return !grouped && Serves(stem, p.contraction) ? std::optional(OwnKernel(p, stem)) : std::nullopt;
}

bool OwnKernel::IsFastest() const {
  const auto* d = std::get_if<Depthwise>(&kind_);
  return d == nullptr || ReadsRows(*d);
}

bool OwnKernel::IsFasterThan(const std::string& name) const {
  return IsFastest() || Beats(std::get<Depthwise>(kind_), contraction_, name);
}

const char* OwnKernel::name() const {
  const auto* d = std::get_if<Depthwise>(&kind_);
  if (d == nullptr) return "jaxconv_stem:avx512f";
  if (ReadsRows(*d))
    return IsLine(contraction_, *d) ? "jaxconv_line:avx512f" : "jaxconv_plane:avx512f";
  return d->group > 1 ? "jaxconv_grouped:avx512f" : "jaxconv_depthwise:avx512f";
}

int64_t OwnKernel::scratch_bytes() const {
  const auto* s = std::get_if<Stem>(&kind_);
  if (s == nullptr) return ScratchBytes(std::get<Depthwise>(kind_), contraction_, threads_);
  return contraction_ == Contraction::kOutput ? StemOutputScratch(*s, threads_)
                                              : StemKernelScratch(*s, threads_);
}

void OwnKernel::Run(float* x, float* w, float* y, void* scratch) const {
  const auto* s = std::get_if<Stem>(&kind_);
  if (s == nullptr)
    Compute(std::get<Depthwise>(kind_), contraction_, x, w, y, scratch, threads_);
  else if (contraction_ == Contraction::kOutput)
    StemOutput(*s, x, w, y, scratch, threads_);
  else
    StemKernel(*s, x, w, y, scratch, threads_);
}

}  // namespace jaxconv
