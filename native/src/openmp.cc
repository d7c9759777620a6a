// What oneDNN asks of OpenMP, in libgomp's names, served by the pool of team.h. The loader finds
// these before libgomp's where the plugin brings oneDNN in.
//
// libgomp gives every thread that calls a team of its own. XLA calls from several threads, and with
// more threads than cores libgomp has all of them sleep at every barrier, in torch's libgomp too,
// which serves both where torch was imported first.
#include <atomic>

#include "team.h"
#include "threads.h"

#define JAXCONV_OPENMP extern "C" __attribute__((visibility("default")))

namespace {

// A loop that is shared out in turn, of each thread.
struct Loop {
  long start, end, step, chunk, turn;
};

thread_local Loop loop;

std::atomic<bool> started{false};

}  // namespace

bool jaxconv::OneDnnHasOurThreads() { return started; }

JAXCONV_OPENMP int omp_get_max_threads() noexcept {
  return static_cast<int>(jaxconv::MostThreads());
}

JAXCONV_OPENMP int omp_get_num_threads() noexcept {
  return static_cast<int>(jaxconv::Here().threads);
}

JAXCONV_OPENMP int omp_get_thread_num() noexcept {
  return static_cast<int>(jaxconv::Here().thread);
}

JAXCONV_OPENMP int omp_in_parallel() noexcept { return jaxconv::InTeam(); }

// The caller calls fn(data) itself, between these two.
JAXCONV_OPENMP void GOMP_parallel_start(void (*fn)(void*), void* data, unsigned threads) {
  if (!started) started = true;
  jaxconv::StartTeam(fn, data, threads > 0 ? threads : jaxconv::MostThreads());
}

JAXCONV_OPENMP void GOMP_parallel_end() { jaxconv::EndTeam(); }

// The same in one call, as newer compilers have it.
JAXCONV_OPENMP void GOMP_parallel(void (*fn)(void*), void* data, unsigned threads, unsigned) {
  GOMP_parallel_start(fn, data, threads);
  fn(data);
  GOMP_parallel_end();
}

JAXCONV_OPENMP void GOMP_barrier() { jaxconv::Here().Barrier(); }

// Writes which iterations, from *first to before *last, this thread has in its next turn; false if
// none. Without a chunk size there is one turn, of parts that differ by one iteration at most.
JAXCONV_OPENMP bool GOMP_loop_static_next(long* first, long* last) {
  const jaxconv::Member here = jaxconv::Here();
  const long toward = loop.step > 0 ? loop.step - 1 : loop.step + 1;
  const long count = (loop.end - loop.start + toward) / loop.step;
  if (count <= 0) return false;
  long from, to;
  if (loop.chunk == 0) {
    if (loop.turn > 0) return false;
    from = here.First(count);
    to = here.Last(count);
  } else {
    from = (loop.turn * here.threads + here.thread) * loop.chunk;
    to = from + loop.chunk < count ? from + loop.chunk : count;
  }
  ++loop.turn;
  if (from >= to) return false;
  *first = loop.start + from * loop.step;
  *last = loop.start + to * loop.step;
  return true;
}

JAXCONV_OPENMP bool GOMP_loop_static_start(long start, long end, long step, long chunk, long* first,
                                           long* last) {
  loop = {start, end, step, chunk, 0};
  return GOMP_loop_static_next(first, last);
}

JAXCONV_OPENMP void GOMP_loop_end_nowait() {}
