// Functions that Python calls through ctypes: the cache, oneDNN's version and implementations.
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "cache.h"
#include "integers.h"
#include "kept_memory.h"
#include "threads.h"

#define JAXCONV_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using jaxconv::Dims;

constexpr dnnl::memory::data_type kDtypes[] = {
    dnnl::memory::data_type::f32, dnnl::memory::data_type::bf16, dnnl::memory::data_type::f16};

void Answer(const std::string& text, char* answer, int64_t room) {
  std::strncpy(answer, text.c_str(), static_cast<size_t>(room) - 1);
  answer[room - 1] = '\0';
}

}  // namespace

// values: size, capacity, hits, misses.
JAXCONV_EXPORT void jaxconv_onednn_cache_info(int64_t* values) {
  const auto info = jaxconv::GetCacheInfo();
  values[0] = info.size;
  values[1] = info.capacity;
  values[2] = info.hits;
  values[3] = info.misses;
}

JAXCONV_EXPORT void jaxconv_onednn_cache_resize(int64_t capacity) {
  jaxconv::ResizeCache(capacity);
}

// values: bytes kept idle, the most that may be, and whether XLA's memory is kept too.
JAXCONV_EXPORT void jaxconv_onednn_kept_memory(int64_t* values) {
  const auto kept = jaxconv::GetKeptMemory();
  values[0] = kept.idle;
  values[1] = kept.most;
  values[2] = kept.of_xla;
}

JAXCONV_EXPORT void jaxconv_onednn_limit_kept_memory(int64_t most, int64_t seconds) {
  jaxconv::LimitKeptMemory(most, seconds);
}

JAXCONV_EXPORT void jaxconv_onednn_keep_memory_of(const char* folder) {
  jaxconv::KeepMemoryOf(folder);
}

// values: oneDNN's major, minor and patch version, and the instruction set it uses.
JAXCONV_EXPORT void jaxconv_onednn_version(int64_t* values) {
  const auto* version = dnnl::version();
  values[0] = version->major;
  values[1] = version->minor;
  values[2] = version->patch;
  values[3] = static_cast<int64_t>(dnnl::get_effective_cpu_isa());
}

JAXCONV_EXPORT int jaxconv_onednn_serves_integers() { return jaxconv::ServesIntegers(); }

// Whether oneDNN is the one that this was built for, and its threads are the plugin's: not if
// another library loaded it, with libgomp, before. A product of this size is for two threads.
JAXCONV_EXPORT int jaxconv_onednn_has_own_threads() {
  const auto* version = dnnl::version();
  if (version->major != DNNL_VERSION_MAJOR || version->minor != DNNL_VERSION_MINOR) return false;
  constexpr int64_t size = 256;
  const std::vector<float> ones(size * size, 1);
  std::vector<float> product(size * size);
  const jaxconv::Cores cores(2);
  dnnl::sgemm('N', 'N', size, size, size, 1, ones.data(), size, ones.data(), size, 0,
              product.data(), size);
  return jaxconv::OneDnnHasOurThreads();
}

// Writes oneDNN's name for how it would compute a problem into `answer`; returns 0, or 1 with the
// error there. shapes: x (rank + 2), w (rank + 2), y (rank + 2); geometry: stride, dilation,
// before, after (rank each), groups. The dtypes are positions in float32, bfloat16, float16.
JAXCONV_EXPORT int jaxconv_onednn_implementation(int64_t contraction, int64_t rank,
                                                 const int64_t* shapes, const int64_t* geometry,
                                                 int64_t operands, int64_t result, char* answer,
                                                 int64_t room) {
  try {
    const auto dims = [](const int64_t* from, int64_t count) { return Dims(from, from + count); };
    jaxconv::Array arrays[3];
    const int64_t missing[] = {2, 0, 1};
    for (int64_t a = 0; a < 3; ++a) {
      const int64_t dtype = a == missing[contraction] ? result : operands;
      arrays[a] = {dims(shapes + a * (rank + 2), rank + 2), kDtypes[dtype]};
    }
    const jaxconv::Geometry described{
        dims(geometry, rank), dims(geometry + rank, rank), dims(geometry + 2 * rank, rank),
        dims(geometry + 3 * rank, rank), geometry[4 * rank]};
    const auto problem =
        jaxconv::MakeProblem(static_cast<jaxconv::Contraction>(contraction), arrays[0], arrays[1],
                             arrays[2], described, jaxconv::ThreadsFor(0, 1));
    const jaxconv::Cores cores(problem.threads);
    Answer(jaxconv::PlanFor(problem)->implementation(), answer, room);
    return 0;
  } catch (const std::exception& error) {
    Answer(error.what(), answer, room);
    return 1;
  }
}
