// XLA's way in: one FFI handler a contraction.
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "cache.h"
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

void Compute(Contraction contraction, int64_t pool, ffi::AnyBuffer x, ffi::AnyBuffer w,
             ffi::AnyBuffer y, const Geometry& geometry, int64_t devices) {
  const Problem problem = MakeProblem(contraction, Describe(x), Describe(w), Describe(y), geometry,
                                      ThreadsFor(pool, devices));
  const ffi::AnyBuffer& result = contraction == Contraction::kOutput  ? y
                                 : contraction == Contraction::kInput ? x
                                                                      : w;
  PreferLargePages(result.untyped_data(), result.size_bytes());
  const Cores cores(problem.threads);
  PlanFor(problem)->Run(x.untyped_data(), w.untyped_data(), y.untyped_data());
}

template <Contraction contraction>
ffi::Error Handle(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b,
                  ffi::Result<ffi::AnyBuffer> result, Integers stride, Integers dilation,
                  Integers before, Integers after, int64_t groups, int64_t devices) {
  // nothing may be thrown through XLA's C interface
  try {
    const Geometry geometry{Copy(stride), Copy(dilation), Copy(before), Copy(after), groups};
    const int64_t threads = pool.num_threads();
    if constexpr (contraction == Contraction::kOutput) {
      Compute(contraction, threads, a, b, *result, geometry, devices);
    } else if constexpr (contraction == Contraction::kInput) {
      Compute(contraction, threads, *result, b, a, geometry, devices);
    } else {
      Compute(contraction, threads, a, *result, b, geometry, devices);
    }
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

auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Ret<ffi::AnyBuffer>()
      .Attr<Integers>("stride")
      .Attr<Integers>("dilation")
      .Attr<Integers>("before")
      .Attr<Integers>("after")
      .Attr<int64_t>("groups")
      .Attr<int64_t>("devices");
}

}  // namespace
}  // namespace jaxconv

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_onednn_output,
                              jaxconv::Handle<jaxconv::Contraction::kOutput>, jaxconv::Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_onednn_input,
                              jaxconv::Handle<jaxconv::Contraction::kInput>, jaxconv::Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_onednn_kernel,
                              jaxconv::Handle<jaxconv::Contraction::kKernel>, jaxconv::Binding());
#pragma GCC visibility pop
