#include "plan.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "workspace.h"

namespace jaxconv {
namespace {

using dnnl::memory;

constexpr size_t kAlignment = 64;
constexpr int64_t kFewChannels = 4;
// Elements of an image that are too many for the caches of a core.
constexpr int64_t kManyElements = int64_t{1} << 17;
// Bytes behind each part of the workspace that must stay as they are, in builds that check memory:
// no sanitizer sees what the code that oneDNN generates writes.
#ifdef JAXCONV_SANITIZE
constexpr size_t kGuard = size_t{1} << 20;
#else
constexpr size_t kGuard = 0;
#endif
constexpr unsigned char kUntouched = 0xAB;

size_t RoundUp(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// What a part of the workspace takes.
size_t Guarded(size_t bytes) { return RoundUp(bytes) + kGuard; }

// Throws where something was written behind the part at `part`.
void CheckGuard(const void* part, size_t bytes, const char* what, const std::string& by) {
  const auto* guard = static_cast<const unsigned char*>(part) + RoundUp(bytes);
  const auto* end = guard + kGuard;
  if (std::all_of(guard, end, [](unsigned char byte) { return byte == kUntouched; })) return;
  throw std::runtime_error(by + " wrote behind " + what);
}

dnnl::primitive_attr Attributes() {
  dnnl::primitive_attr attributes;
  // each run brings its own, so that one primitive can run in several threads at once
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

memory::desc AnyLayout(const memory::desc& desc) {
  return memory::desc(desc.get_dims(), desc.get_data_type(), memory::format_tag::any);
}

// The same array in another dtype; its memory layout is of no account.
memory::desc WithType(const memory::desc& desc, memory::data_type type) {
  if (desc.get_data_type() == type) return desc;
  return memory::desc(desc.get_dims(), type, memory::format_tag::any);
}

// What the three descriptions have in common.
struct Described {
  dnnl::primitive primitive;
  memory::desc x, w, y, scratchpad;
  std::string implementation;
};

Described Describe(const Problem& p, const memory::desc& x, const memory::desc& w,
                   const memory::desc& y) {
  const auto attributes = Attributes();
  const auto algorithm = dnnl::algorithm::convolution_direct;
  // the backward primitives want a forward one as a hint; float32 gradients of half precision
  // arrays would be mixed operands there, so all of its arrays have the operands' dtype
  const bool output = p.contraction == Contraction::kOutput;
  const auto type = (p.contraction == Contraction::kInput ? y : x).get_data_type();
  const dnnl::convolution_forward::primitive_desc forward(
      Engine(), dnnl::prop_kind::forward_training, algorithm, WithType(x, type), WithType(w, type),
      output ? y : WithType(y, type), p.stride, p.dilation, p.before, p.after, attributes);
  if (output) {
    return {dnnl::convolution_forward(forward), forward.src_desc(), forward.weights_desc(),
            forward.dst_desc(), forward.scratchpad_desc(), forward.impl_info_str()};
  }
  if (p.contraction == Contraction::kInput) {
    const dnnl::convolution_backward_data::primitive_desc backward(
        Engine(), algorithm, x, w, y, p.stride, p.dilation, p.before, p.after, forward, attributes);
    return {dnnl::convolution_backward_data(backward), backward.diff_src_desc(),
            backward.weights_desc(), backward.diff_dst_desc(), backward.scratchpad_desc(),
            backward.impl_info_str()};
  }
  const dnnl::convolution_backward_weights::primitive_desc backward(
      Engine(), algorithm, x, w, y, p.stride, p.dilation, p.before, p.after, forward, attributes);
  return {dnnl::convolution_backward_weights(backward), backward.src_desc(),
          backward.diff_weights_desc(), backward.diff_dst_desc(), backward.scratchpad_desc(),
          backward.impl_info_str()};
}

bool Is(const Described& described, const char* name) {
  return described.implementation.rfind(name, 0) == 0;
}

bool Strided(const Problem& p) {
  return std::any_of(p.stride.begin(), p.stride.end(), [](int64_t stride) { return stride > 1; });
}

// Elements of an image of x or y, whichever has more.
int64_t ElementsOfImage(const Problem& p) {
  int64_t most = 0;
  for (const memory::desc* array : {&p.x, &p.y}) {
    const auto dims = array->get_dims();
    most = std::max(most, std::accumulate(dims.begin() + 1, dims.end(), int64_t{1},
                                          std::multiplies<int64_t>()));
  }
  return most;
}

// Whether blocks of channels, with the reorders into them and back, beat channels last (oneDNN 3.2,
// 2026-11, two cores; where nothing else is said, of AVX-512).
bool BlockedIsFaster(const Problem& p, const Described& best) {
  if (p.x.get_data_type() != memory::data_type::f32) return false;
  const bool dense = p.w.get_ndims() == p.rank + 2;
  const int64_t inputs = p.x.get_dims()[1], outputs = p.y.get_dims()[1];
  if (!dense) return false;
  // An AMD EPYC with AVX2 alone: 0.26 to 0.63 of the time on five layers of 2^18 to 10^7 elements an
  // image, 0.8 to 1.5 on seven of 2^14 to 2^17.
  if (p.contraction == Contraction::kKernel && Is(best, "jit:avx2") &&
      ElementsOfImage(p) > kManyElements) {
    return true;
  }
  if (!Strided(p)) return false;
  switch (p.contraction) {
    case Contraction::kOutput:  // 0.75 to 0.95 of the time with 512 channels, 1.0 to 1.2 with fewer
      return Is(best, "brgconv:") && inputs >= 512;
    case Contraction::kInput:
      return false;
    case Contraction::kKernel:  // 0.35 to 0.9 from 128 channels on, 0.8 to 1.2 with 64 and fewer
      return Is(best, "jit:") && std::min(inputs, outputs) >= 128;
  }
  return false;
}

Described Best(const Problem& p) {
  const memory::desc w = AnyLayout(p.w);
  Described best = Describe(p, p.x, w, p.y);
  // Where oneDNN has only its reference loops for channels last, a blocked layout pays its way.
  const bool loops = Is(best, "ref");
  if (loops || BlockedIsFaster(p, best)) {
    Described blocked = Describe(p, AnyLayout(p.x), w, AnyLayout(p.y));
    if (loops ? !Is(blocked, "ref") : Is(blocked, "jit")) {
      best = std::move(blocked);
      best.implementation += " in blocks";
    }
  }
  // The gradient of an image's few channels leaves most of each vector empty; as a matrix product,
  // which takes the weights as they are, it needs half the time or less (8x224x224x3, 11x11 by 4
  // and 7x7 by 2; 224x224x3, 3x3; 572x572x1, 3x3; 16x112x112x3, 3x3x3; 16000x1, 10 by 5; two cores
  // of AVX-512, oneDNN 3.2, 2026-11).
  if (p.contraction == Contraction::kInput && Is(best, "brg") &&
      p.x.get_dims()[1] <= kFewChannels) {
    Described product = Describe(p, p.x, p.w, p.y);
    if (Is(product, "x64:gemm")) best = std::move(product);
  }
  return best;
}

}  // namespace

const dnnl::engine& Engine() {
  // never destroyed: XLA's threads may outlive this library's static objects
  static const dnnl::engine* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

struct Plan::Arguments {
  // An array as the primitive has it, as XLA has it, and what moves one into the other.
  struct Moved {
    memory inner, user;
    dnnl_exec_arg_t move[2];
  };

  explicit Arguments(const Plan& plan) : stream(Engine()) {
    scratchpad = memory(plan.scratchpad_, Engine(), nullptr);
    given[0] = {DNNL_ARG_SCRATCHPAD, scratchpad.get()};
    for (int s = 0; s < 3; ++s) {
      const Side& side = plan.sides_[s];
      Moved& array = arrays[s];
      array.inner = memory(side.inner, Engine(), nullptr);
      given[s + 1] = {side.argument, array.inner.get()};
      if (!side.reordered()) continue;
      array.user = memory(side.user, Engine(), nullptr);
      memory &from = side.result ? array.inner : array.user,
             &to = side.result ? array.user : array.inner;
      array.move[0] = {DNNL_ARG_FROM, from.get()};
      array.move[1] = {DNNL_ARG_TO, to.get()};
    }
  }

  template <size_t count>
  void Execute(const dnnl::primitive& primitive, const dnnl_exec_arg_t (&arguments)[count]) {
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(primitive.get(), stream.get(), count, arguments),
        "could not execute a primitive");
  }

  dnnl::stream stream;
  memory scratchpad;
  Moved arrays[3];
  dnnl_exec_arg_t given[4];  // to the primitive
};

Plan::~Plan() = default;

std::unique_ptr<Plan::Arguments> Plan::Borrow() const {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      auto arguments = std::move(idle_.back());
      idle_.pop_back();
      return arguments;
    }
  }
  return std::make_unique<Arguments>(*this);
}

void Plan::GiveBack(std::unique_ptr<Arguments> arguments) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(arguments));
}

Plan::Plan(const Problem& problem) : own_(OwnKernel::For(problem)), threads_(problem.threads) {
  Described best;
  if (!own_ || !own_->IsFastest()) {
    best = Best(problem);
    if (own_ && !own_->IsFasterThan(best.implementation)) own_.reset();
  }
  if (own_) {
    implementation_ = own_->name();
    workspace_ = own_->scratch_bytes();
    return;
  }
  primitive_ = std::move(best.primitive);
  scratchpad_ = best.scratchpad;
  implementation_ = std::move(best.implementation);
  workspace_ = Guarded(scratchpad_.get_size());
  const auto missing = problem.contraction;
  const bool forward = missing == Contraction::kOutput;
  AddSide(0, missing == Contraction::kInput ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, problem.x, best.x,
          missing == Contraction::kInput);
  AddSide(1, missing == Contraction::kKernel ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, problem.w,
          best.w, missing == Contraction::kKernel);
  AddSide(2, forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, problem.y, best.y, forward);
}

void Plan::AddSide(int place, int argument, const memory::desc& user, const memory::desc& inner,
                   bool result) {
  Side& side = sides_[place];
  side.argument = argument;
  side.user = user;
  side.inner = inner;
  side.result = result;
  if (user == inner) return;
  const memory::desc& from = result ? inner : user;
  const memory::desc& to = result ? user : inner;
  const dnnl::reorder::primitive_desc description(Engine(), from, Engine(), to);
  side.reorder = dnnl::reorder(description);
  side.offset = workspace_;
  workspace_ += Guarded(inner.get_size());
}

void Plan::Run(void* x, void* w, void* y) const {
  const Workspace workspace(workspace_);
  if (own_) {
    own_->Run(static_cast<float*>(x), static_cast<float*>(w), static_cast<float*>(y),
              workspace.at(0));
    return;
  }
  if (kGuard > 0) std::memset(workspace.at(0), kUntouched, workspace_);
  void* const data[3] = {x, w, y};
  auto arguments = Borrow();
  arguments->scratchpad.set_data_handle(workspace.at(0));
  for (int s = 0; s < 3; ++s) {
    const Side& side = sides_[s];
    Arguments::Moved& array = arguments->arrays[s];
    array.inner.set_data_handle(side.reordered() ? workspace.at(side.offset) : data[s]);
    if (!side.reordered()) continue;
    array.user.set_data_handle(data[s]);
    if (!side.result) arguments->Execute(side.reorder, array.move);
  }
  arguments->Execute(primitive_, arguments->given);
  for (int s = 0; s < 3; ++s) {
    const Side& side = sides_[s];
    if (side.reordered() && side.result) {
      arguments->Execute(side.reorder, arguments->arrays[s].move);
    }
  }
  arguments->stream.wait();
  if (kGuard > 0) {
    CheckGuard(workspace.at(0), scratchpad_.get_size(), "its scratchpad", implementation_);
    for (const Side& side : sides_) {
      if (!side.reordered()) continue;
      CheckGuard(workspace.at(side.offset), side.inner.get_size(), "an array", implementation_);
    }
  }
  GiveBack(std::move(arguments));
}

}  // namespace jaxconv
