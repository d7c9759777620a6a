// The threads that a call runs on: one pool for all of XLA's threads that call.
#ifndef JAXCONV_TEAM_H_
#define JAXCONV_TEAM_H_

#include <atomic>
#include <cstdint>

namespace jaxconv {

// Nothing here is inline but what is of internal linkage: files that are compiled for AVX-512
// include it.

// The position of a thread in a team.
struct Member {
  int64_t thread, threads;

  // Waits for all threads of the team.
  void Barrier() const;

  // This thread's part of `count` things, from First up to but not Last, as even as can be.
  int64_t First(int64_t count) const;
  int64_t Last(int64_t count) const;
};

// Tasks of a team: a thread that is free takes the next one.
class Tasks {
 public:
  // The next one's number, from 0 up, whether or not there are so many.
  int64_t Take();
  // For one thread, while no other takes any.
  void Restart();

 private:
  std::atomic<int64_t> next_{0};
};

// Makes threads until there are `count` besides those that call. Throws std::system_error where the
// system has no more: oneDNN counts on every thread that it is told of.
void HaveHelpers(int64_t count);

// What OpenMP calls a parallel region. The caller is thread 0 of a team of at most `threads`, and
// alone in one where it is in a team already. Between the two calls it does its own part.
void StartTeam(void (*work)(void*), void* data, int64_t threads);
void EndTeam();

// This thread's place in the innermost team, (0, 1) in none.
Member Here();

// Whether this thread is in a team of several, or in one within such a team.
bool InTeam();

// Calls work(member) on every thread of a team of at most `threads`.
template <typename Work>
void OnTeam(int64_t threads, const Work& work) {
  if (threads == 1) return work(Member{0, 1});
  void (*const call)(void*) = [](void* data) { (*static_cast<const Work*>(data))(Here()); };
  void* const data = const_cast<Work*>(&work);
  StartTeam(call, data, threads);
  call(data);
  EndTeam();
}

}  // namespace jaxconv

#endif  // JAXCONV_TEAM_H_
