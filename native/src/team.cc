#include "team.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "pause.h"
#include "process.h"
#include "threads.h"

namespace jaxconv {
namespace {

using Word = std::atomic<uint32_t>;
static_assert(sizeof(Word) == sizeof(uint32_t), "a futex is 32 bits");

// Looks at what is waited for, some tens of microseconds altogether, before a thread sleeps: longer
// than the serial work between two calls' regions, and soon enough for others to get the core.
constexpr int kLooks = 1000;

// Sleeps until woken, if `word` is still `value`. May return for no reason.
void Sleep(Word* word, uint32_t value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void Wake(Word* word, int count) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

template <typename Condition>
bool Spin(const Condition& condition) {
  for (int look = 0; look < kLooks; ++look) {
    if (condition()) return true;
    Pause();
  }
  return false;
}

struct Worker;

struct Team {
  void (*work)(void*);
  void* data;
  int64_t threads;
  // Threads that teams of its members may have, and whether this one, or one around it, has several.
  int64_t most;
  bool active;
  std::vector<Worker*> workers;
  // The caller's place in the team around this one.
  Team* outer;
  int64_t outer_thread;
  // Workers that have not finished; the highest bit says that the caller sleeps.
  Word running{0};
  // Of the barrier: who has come to it, how often all have, and who sleeps there.
  Word arrived{0}, passed{0}, asleep{0};
};

constexpr uint32_t kCallerSleeps = uint32_t{1} << 31;

thread_local Team* team_of_thread = nullptr;
thread_local int64_t number_of_thread = 0;

struct alignas(64) Worker {
  enum State : uint32_t { kIdle, kAsleep, kCalled };

  Word state{kIdle};
  Team* team = nullptr;
  int64_t number = 0;
  // The thread's number in the system, and the core it was last seen on.
  std::atomic<pid_t> id{0};
  std::atomic<int> core{-1};

  // By a thread on core `here`.
  void Call(Team* called_by, int64_t as, int here) {
    team = called_by;
    number = as;
    if (core.load() == here) Leave(here);
    if (state.exchange(kCalled) == kAsleep) Wake(&state, 1);
  }

  // The caller keeps its core. A worker that the scheduler has put there waits for milliseconds
  // until it is moved, call after call: 2 of 5 calls that began late, on 2 cores.
  void Leave(int taken) {
    if (id.load() == 0) return;
    cpu_set_t others = Cpus();
    CPU_CLR(taken, &others);
    if (CPU_COUNT(&others) > 0) sched_setaffinity(id.load(), sizeof(others), &others);
  }

  void Live() {
    // not those of the caller that had this thread made: others will have it too
    sched_setaffinity(0, sizeof(cpu_set_t), &Cpus());
    id.store(static_cast<pid_t>(syscall(SYS_gettid)));
    const auto called = [this] { return state.load() == kCalled; };
    for (;;) {
      if (!Spin(called)) {
        uint32_t expected = kIdle;
        state.compare_exchange_strong(expected, kAsleep);
        while (!called()) Sleep(&state, kAsleep);
      }
      Team* const own = team_of_thread = team;
      number_of_thread = number;
      Inherit(own->most);
      core.store(sched_getcpu());
      own->work(own->data);
      core.store(sched_getcpu());
      // Idle before it is counted out: from then on it may be called again.
      state.store(kIdle);
      if (own->running.fetch_sub(1) == (kCallerSleeps | 1)) Wake(&own->running, 1);
    }
  }
};

struct Pool {
  std::mutex mutex;
  // Those in no team; the last to come is the first to go, as it is the likeliest to be awake.
  std::vector<Worker*> idle;
  int64_t all = 0;

  // With the mutex held. Throws std::system_error where the system gives no more threads.
  void Make() {
    auto worker = std::make_unique<Worker>();
    idle.reserve(all + 1);
    std::thread([live = worker.get()] { live->Live(); }).detach();
    idle.push_back(worker.release());
    ++all;
  }

  // At most `count` of them, fewer only where the system gives no more threads.
  std::vector<Worker*> Take(int64_t count) {
    std::vector<Worker*> taken;
    taken.reserve(count);
    const std::lock_guard<std::mutex> lock(mutex);
    for (; static_cast<int64_t>(taken.size()) < count; idle.pop_back()) {
      try {
        if (idle.empty()) Make();
      } catch (const std::system_error&) {
        break;
      }
      taken.push_back(idle.back());
    }
    return taken;
  }

  void GiveBack(const std::vector<Worker*>& workers) {
    const std::lock_guard<std::mutex> lock(mutex);
    idle.insert(idle.end(), workers.rbegin(), workers.rend());
  }
};

}  // namespace

int64_t Member::First(int64_t count) const { return thread * count / threads; }

int64_t Member::Last(int64_t count) const { return (thread + 1) * count / threads; }

int64_t Tasks::Take() { return next_.fetch_add(1); }

void Tasks::Restart() { next_.store(0); }

void Member::Barrier() const {
  if (threads == 1) return;
  Team& team = *team_of_thread;
  const uint32_t before = team.passed.load();
  if (team.arrived.fetch_add(1) + 1 == threads) {
    team.arrived.store(0);
    team.passed.fetch_add(1);
    if (team.asleep.load() > 0) Wake(&team.passed, INT_MAX);
    return;
  }
  if (Spin([&] { return team.passed.load() != before; })) return;
  team.asleep.fetch_add(1);
  while (team.passed.load() == before) Sleep(&team.passed, before);
  team.asleep.fetch_sub(1);
}

Member Here() {
  return {number_of_thread, team_of_thread == nullptr ? 1 : team_of_thread->threads};
}

bool InTeam() { return team_of_thread != nullptr && team_of_thread->active; }

void HaveHelpers(int64_t count) {
  Pool& pool = OfProcess<Pool>();
  const std::lock_guard<std::mutex> lock(pool.mutex);
  while (pool.all < count) pool.Make();
}

void StartTeam(void (*work)(void*), void* data, int64_t threads) {
  Team* const team =
      new Team{work, data, 1, MostThreads(), InTeam(), {}, team_of_thread, number_of_thread};
  if (threads > 1 && !InTeam()) team->workers = OfProcess<Pool>().Take(threads - 1);
  const int64_t helpers = team->workers.size();
  team->threads = 1 + helpers;
  if (helpers > 0) team->active = true;
  team->running.store(helpers);
  team_of_thread = team;
  number_of_thread = 0;
  const int here = helpers > 0 ? sched_getcpu() : -1;
  for (int64_t helper = 0; helper < helpers; ++helper)
    team->workers[helper]->Call(team, 1 + helper, here);
}

void EndTeam() {
  Team* const team = team_of_thread;
  const auto done = [team] { return (team->running.load() & ~kCallerSleeps) == 0; };
  if (!Spin(done)) {
    team->running.fetch_or(kCallerSleeps);
    for (uint32_t left; (left = team->running.load()) != kCallerSleeps;)
      Sleep(&team->running, left);
  }
  if (!team->workers.empty()) OfProcess<Pool>().GiveBack(team->workers);
  team_of_thread = team->outer;
  number_of_thread = team->outer_thread;
  delete team;
}

}  // namespace jaxconv
