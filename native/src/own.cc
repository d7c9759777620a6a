#include "own.h"

namespace jaxconv {
namespace {

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
// cores of AVX-512, oneDNN 3.2, 2026-11). On AVX2 the gradient takes 0.3 to 0.9 of oneDNN's time
// (1.0 with 12 outputs), the output 0.4 to 1.2, but beside "jit" with fewer outputs than kManyOutputs
// 0.9 to 1.5 (one and two cores, capped by ONEDNN_MAX_CPU_ISA=AVX2, 2026-11).
constexpr int64_t kStemInputs = 4, kStemResults = 1 << 19, kStemGradientResults = 1 << 18;
constexpr int64_t kManyOutputs = 48;

bool Serves(const Stem& s, Contraction contraction, int64_t vector) {
  if (contraction == Contraction::kInput) return false;
  if (s.inputs > kStemInputs || s.outputs <= vector) return false;
  const int64_t results = s.out[0] * s.out[1] * s.out[2] * s.outputs;
  // an image's output must not depend on the batch
  return contraction == Contraction::kOutput ? results >= kStemResults
                                             : s.n * results >= kStemGradientResults;
}

// The best of our kernels that this CPU can run and oneDNN's limit (ONEDNN_MAX_CPU_ISA) allows, or
// null.
const Kernels* KernelsHere() {
  const auto isa = static_cast<int>(dnnl::get_effective_cpu_isa());
  const auto allowed = [isa](dnnl::cpu_isa wanted) {
    return (isa & static_cast<int>(wanted)) == static_cast<int>(wanted);
  };
  if (allowed(dnnl::cpu_isa::avx512_core) && __builtin_cpu_supports("avx512f"))
    return &avx512f::kKernels;
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return allowed(dnnl::cpu_isa::avx2) && has_avx2 ? &avx2::kKernels : nullptr;
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

// Channels up to which ours are the faster ones for strided depthwise layers, too.
constexpr int64_t kStridedChannels = 48;

bool Is(const std::string& name, const char* kind) { return name.rfind(kind, 0) == 0; }

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
  const bool jit = Is(name, "jit_dw");
  if (!jit && !Is(name, "brdgmm_dw")) return true;
  if (contraction != Contraction::kKernel && d.slides()) return true;
  return !jit && d.c <= kStridedChannels;
}

// The same on AVX2. oneDNN's depthwise kernels take 0.3 to 1.1 of our time for the gradient of the
// weights, along strides and dilations, and for layers of up to 7x7 entries; from 9x9 on 0.9 to 2.
// Without them oneDNN needs 2 to 14 times as long. Groups of 8 take 0.6 to 1.0 of our time, those of
// 2 and 4 1.5 to 7 (one core, capped by ONEDNN_MAX_CPU_ISA=AVX2, oneDNN 3.2, 2026-11).
bool BeatsOnAvx2(const Depthwise& d, Contraction contraction, const std::string& name) {
  constexpr int64_t kManyEntries = 81;
  if (d.group > 1) return d.group < 8;
  if (!Is(name, "jit_dw") && !Is(name, "brdgmm_dw")) return true;
  return contraction != Contraction::kKernel && d.slides() && d.taps() >= kManyEntries;
}

template <typename Shape>
int64_t ScratchBytes(const Kernels::Layer<Shape>& layer, const Shape& shape,
                     Contraction contraction, int64_t threads) {
  switch (contraction) {
    case Contraction::kOutput:
      return layer.output_scratch(shape, threads);
    case Contraction::kInput:
      return layer.input_scratch(shape, threads);
    case Contraction::kKernel:
      return layer.kernel_scratch(shape, threads);
  }
  return 0;
}

template <typename Shape>
void Compute(const Kernels::Layer<Shape>& layer, const Shape& shape, Contraction contraction,
             float* x, float* w, float* y, void* scratch, int64_t threads) {
  switch (contraction) {
    case Contraction::kOutput:
      return layer.output(shape, x, w, y, scratch, threads);
    case Contraction::kInput:
      return layer.input(shape, x, w, y, scratch, threads);
    case Contraction::kKernel:
      return layer.kernel(shape, x, w, y, scratch, threads);
  }
}

const Kernels::Layer<Depthwise>& LayerOf(const Kernels& kernels, const Depthwise& d) {
  return ReadsRows(d) ? kernels.plane : kernels.depthwise;
}

const Kernels::Layer<Stem>& LayerOf(const Kernels& kernels, const Stem&) { return kernels.stem; }

}  // namespace

bool OwnKernel::AnyHere() { return KernelsHere() != nullptr; }

std::optional<OwnKernel> OwnKernel::For(const Problem& p) {
  const auto f32 = dnnl::memory::data_type::f32;
  for (const auto* array : {&p.x, &p.w, &p.y})
    if (array->get_data_type() != f32) return std::nullopt;
  const Kernels* const kernels = KernelsHere();
  if (kernels == nullptr) return std::nullopt;
  const int64_t grouped = p.w.get_ndims() - p.rank - 2;
  const int64_t outputs = p.w.get_dims()[grouped], inputs = p.w.get_dims()[grouped + 1];
  // depthwise, which a single plane is too, or of small groups
  if (inputs == outputs &&
      (inputs == 1 || (grouped && (inputs == 2 || inputs == 4 || inputs == 8)))) {
    return OwnKernel(p, *kernels, Depthwise{SpaceOf(p), p.x.get_dims()[1], inputs});
  }
  const Stem stem{SpaceOf(p), inputs, outputs};
  if (grouped || !Serves(stem, p.contraction, kernels->lanes)) return std::nullopt;
  return OwnKernel(p, *kernels, stem);
}

bool OwnKernel::IsFastest() const {
  const auto* d = std::get_if<Depthwise>(&kind_);
  const bool gradient = contraction_ == Contraction::kKernel, many_lanes = kernels_->lanes > 8;
  if (d == nullptr) return many_lanes || gradient || std::get<Stem>(kind_).outputs >= kManyOutputs;
  return ReadsRows(*d) && (many_lanes || gradient || d->c < kernels_->lanes);
}

bool OwnKernel::IsFasterThan(const std::string& name) const {
  if (IsFastest()) return true;
  const auto* d = std::get_if<Depthwise>(&kind_);
  if (d == nullptr) return !Is(name, "jit:");
  return kernels_->lanes > 8 ? Beats(*d, contraction_, name) : BeatsOnAvx2(*d, contraction_, name);
}

std::string OwnKernel::name() const {
  const auto kind = [this]() -> std::string {
    const auto* d = std::get_if<Depthwise>(&kind_);
    if (d == nullptr) return "stem";
    if (!ReadsRows(*d)) return d->group > 1 ? "grouped" : "depthwise";
    const bool gradient = contraction_ == Contraction::kKernel;
    const auto line = gradient ? kernels_->line_kernel_serves : kernels_->line_serves;
    return line(*d) ? "line" : "plane";
  };
  return "jaxconv_" + kind() + ":" + kernels_->isa;
}

int64_t OwnKernel::scratch_bytes() const {
  return std::visit(
      [this](const auto& shape) {
        return ScratchBytes(LayerOf(*kernels_, shape), shape, contraction_, threads_);
      },
      kind_);
}

void OwnKernel::Run(float* x, float* w, float* y, void* scratch) const {
  std::visit(
      [&](const auto& shape) {
        Compute(LayerOf(*kernels_, shape), shape, contraction_, x, w, y, scratch, threads_);
      },
      kind_);
}

}  // namespace jaxconv
