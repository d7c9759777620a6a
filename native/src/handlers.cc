// XLA's way in: one FFI handler that reads what a call says, and one a contraction that runs it.
#include <algorithm>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "cache.h"
#include "integers.h"
#include "pages.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace jaxconv {
namespace {

namespace ffi = xla::ffi;
using Integers = ffi::Span<const int64_t>;

Dims Copy(Integers values) { return Dims(values.begin(), values.end()); }

Array Describe(ffi::AnyBuffer buffer) {
  using type = dnnl::memory::data_type;
  switch (buffer.element_type()) {
    case ffi::DataType::F32:
      return {Copy(buffer.dimensions()), type::f32};
    case ffi::DataType::BF16:
      return {Copy(buffer.dimensions()), type::bf16};
    case ffi::DataType::F16:
      return {Copy(buffer.dimensions()), type::f16};
    default:
      throw BadProblem("jaxconv_onednn: arrays must be float32, bfloat16 or float16");
  }
}

// One call in a program. Its shapes and attributes are those of the program, so that they are read
// once: each later run of the program finds the plan here.
class Call {
 public:
  static ffi::TypeId id;

  Call(Geometry geometry, int64_t devices) : geometry_(std::move(geometry)), devices_(devices) {}

  void Run(Contraction contraction, ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer w,
           ffi::AnyBuffer y) {
    const auto plan = PlanOf(contraction, pool, x, w, y);
    const ffi::AnyBuffer& result = contraction == Contraction::kOutput  ? y
                                   : contraction == Contraction::kInput ? x
                                                                        : w;
    PreferLargePages(result.untyped_data(), result.size_bytes());
    const Cores cores(plan->threads());
    plan->Run(x.untyped_data(), w.untyped_data(), y.untyped_data());
  }

 private:
  std::shared_ptr<const Plan> PlanOf(Contraction contraction, ffi::ThreadPool pool,
                                     ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::AnyBuffer y) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (auto plan = plan_.lock()) {
        CountHit();
        return plan;
      }
    }
    const Problem problem = MakeProblem(contraction, Describe(x), Describe(w), Describe(y),
                                        geometry_, ThreadsFor(pool.num_threads(), devices_));
    const Cores cores(problem.threads);
    auto plan = PlanFor(problem);
    const std::lock_guard<std::mutex> lock(mutex_);
    plan_ = plan;
    return plan;
  }

  const Geometry geometry_;
  const int64_t devices_;
  std::mutex mutex_;
  std::weak_ptr<const Plan> plan_;  // the cache holds it, within its bound
};

ffi::TypeId Call::id = {};

// Nothing may be thrown through XLA's C interface.
template <typename Function>
ffi::Error Guarded(const Function& function) {
  try {
    function();
    return ffi::Error::Success();
  } catch (const BadProblem& error) {
    return ffi::Error::InvalidArgument(error.what());
  } catch (const dnnl::error& error) {
    return ffi::Error(error.status == dnnl_out_of_memory ? ffi::ErrorCode::kResourceExhausted
                                                         : ffi::ErrorCode::kInternal,
                      std::string("jaxconv_onednn: oneDNN: ") + error.what());
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "jaxconv_onednn: out of memory");
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("jaxconv_onednn: ") + error.what());
  } catch (...) {
    return ffi::Error::Internal("jaxconv_onednn: unknown error");
  }
}

ffi::ErrorOr<std::unique_ptr<Call>> Instantiate(Integers stride, Integers dilation,
                                                Integers before, Integers after, int64_t groups,
                                                int64_t devices) {
  std::unique_ptr<Call> call;
  const ffi::Error error = Guarded([&] {
    call = std::make_unique<Call>(
        Geometry{Copy(stride), Copy(dilation), Copy(before), Copy(after), groups}, devices);
  });
  if (error.failure()) return ffi::Unexpected(error);
  return call;
}

template <Contraction contraction>
ffi::Error Execute(Call* call, ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b,
                   ffi::Result<ffi::AnyBuffer> result) {
  return Guarded([&] {
    if constexpr (contraction == Contraction::kOutput) {
      call->Run(contraction, pool, a, b, *result);
    } else if constexpr (contraction == Contraction::kInput) {
      call->Run(contraction, pool, *result, b, a);
    } else {
      call->Run(contraction, pool, a, *result, b);
    }
  });
}

IntegerType TypeOf(ffi::AnyBuffer buffer) {
  switch (buffer.element_type()) {
    case ffi::DataType::S8:
      return IntegerType::kInt8;
    case ffi::DataType::U8:
      return IntegerType::kUint8;
    case ffi::DataType::S16:
      return IntegerType::kInt16;
    default:
      throw BadProblem("jaxconv_onednn: integers must be int8, uint8 or int16");
  }
}

ffi::Error ExecuteIntegers(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer w,
                           ffi::Result<ffi::Buffer<ffi::S32>> y, Integers stride,
                           Integers dilation, Integers before, int64_t groups, int64_t devices) {
  return Guarded([&] {
    const IntegerProblem problem(Copy(x.dimensions()), Copy(w.dimensions()), Copy(y->dimensions()),
                                 {Copy(stride), Copy(dilation), Copy(before), {}, groups},
                                 ThreadsFor(pool.num_threads(), devices));
    const Cores cores(problem.threads());
    problem.Run({x.untyped_data(), TypeOf(x)}, {w.untyped_data(), TypeOf(w)}, y->typed_data());
  });
}

// Shape of an array (n, channels, *space) with its channels last.
Dims ChannelsLast(ffi::AnyBuffer buffer) {
  Dims dims = Copy(buffer.dimensions());
  if (dims.size() > 2) std::rotate(dims.begin() + 1, dims.begin() + 2, dims.end());
  return dims;
}

ffi::Error ExecuteQuantized(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer w,
                            ffi::Buffer<ffi::S32> x_zero, ffi::Buffer<ffi::S32> bias,
                            ffi::Buffer<ffi::F32> factor, ffi::Buffer<ffi::F32> zero,
                            ffi::Result<ffi::AnyBuffer> y, Integers stride, Integers dilation,
                            Integers before, int64_t groups, int64_t devices) {
  return Guarded([&] {
    const IntegerProblem problem(ChannelsLast(x), Copy(w.dimensions()), ChannelsLast(*y),
                                 {Copy(stride), Copy(dilation), Copy(before), {}, groups},
                                 ThreadsFor(pool.num_threads(), devices));
    const int64_t outputs = w.dimensions().back();
    if (x_zero.element_count() != 1 || zero.element_count() != 1 ||
        bias.element_count() != outputs || factor.element_count() != outputs)
      throw BadProblem("jaxconv_onednn: quantized: bias and factor must have one number an output");
    const bool sums = y->element_type() == ffi::DataType::S32;
    const QuantizedResult result{y->untyped_data(), sums ? IntegerType::kInt32 : TypeOf(*y),
                                 bias.typed_data(), factor.typed_data(), *zero.typed_data()};
    const IntegerArray array{x.untyped_data(), TypeOf(x)};
    if (array.type == IntegerType::kInt16 || result.type == IntegerType::kInt16)
      throw BadProblem("jaxconv_onednn: quantized: x must have 8 bits, and y 8 or 32");
    const Cores cores(problem.threads());
    problem.RunQuantized(array, *x_zero.typed_data(), {w.untyped_data(), TypeOf(w)}, result);
  });
}

auto InstantiateBinding() {
  return ffi::Ffi::BindInstantiate()
      .Attr<Integers>("stride")
      .Attr<Integers>("dilation")
      .Attr<Integers>("before")
      .Attr<Integers>("after")
      .Attr<int64_t>("groups")
      .Attr<int64_t>("devices");
}

auto ExecuteBinding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::State<Call>>()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Ret<ffi::AnyBuffer>();
}

auto IntegersBinding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Ret<ffi::Buffer<ffi::S32>>()
      .Attr<Integers>("stride")
      .Attr<Integers>("dilation")
      .Attr<Integers>("before")
      .Attr<int64_t>("groups")
      .Attr<int64_t>("devices");
}

auto QuantizedBinding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::Buffer<ffi::S32>>()
      .Arg<ffi::Buffer<ffi::S32>>()
      .Arg<ffi::Buffer<ffi::F32>>()
      .Arg<ffi::Buffer<ffi::F32>>()
      .Ret<ffi::AnyBuffer>()
      .Attr<Integers>("stride")
      .Attr<Integers>("dilation")
      .Attr<Integers>("before")
      .Attr<int64_t>("groups")
      .Attr<int64_t>("devices");
}

constexpr ffi::TypeInfo kCallInfo = ffi::MakeTypeInfo<Call>();

}  // namespace
}  // namespace jaxconv

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_onednn_instantiate, jaxconv::Instantiate,
                              jaxconv::InstantiateBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_onednn_output,
                              jaxconv::Execute<jaxconv::Contraction::kOutput>,
                              jaxconv::ExecuteBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_onednn_input,
                              jaxconv::Execute<jaxconv::Contraction::kInput>,
                              jaxconv::ExecuteBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_onednn_kernel,
                              jaxconv::Execute<jaxconv::Contraction::kKernel>,
                              jaxconv::ExecuteBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_onednn_integers, jaxconv::ExecuteIntegers,
                              jaxconv::IntegersBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_onednn_quantized, jaxconv::ExecuteQuantized,
                              jaxconv::QuantizedBinding());

// What JAX registers the calls' state by.
extern "C" void* jaxconv_onednn_call_type_id() { return &jaxconv::Call::id; }
extern "C" const void* jaxconv_onednn_call_type_info() { return &jaxconv::kCallInfo; }
#pragma GCC visibility pop
