// How oneDNN computes a problem: its primitive, and the reorders around it.
#ifndef JAXCONV_PLAN_H_
#define JAXCONV_PLAN_H_

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "own.h"
#include "problem.h"

namespace jaxconv {

const dnnl::engine& Engine();

// Any number of threads may run it at once.
class Plan {
 public:
  // To be built and run while the thread holds problem.threads `Cores`.
  explicit Plan(const Problem& problem);
  ~Plan();

  // Computes the missing one of the three arrays.
  void Run(void* x, void* w, void* y) const;

  // oneDNN's name of the implementation, such as "jit:avx512_core", with " in blocks" where that is
  // the layout that it works in; or ours.
  const std::string& implementation() const { return implementation_; }

  // The number of threads to run it on.
  int64_t threads() const { return threads_; }

 private:
  // One of the three arrays: as XLA has it and as the primitive wants it.
  struct Side {
    int argument = 0;
    dnnl::memory::desc user, inner;
    dnnl::reorder reorder;  // empty if the two are one
    bool result = false;
    size_t offset = 0;  // of the inner array in the workspace
    bool reordered() const { return static_cast<bool>(reorder); }
  };

  // oneDNN's handles of the arrays and what its calls are told, without the arrays: made once,
  // since for small problems that takes longer than the computation. One run at a time has them.
  struct Arguments;

  std::unique_ptr<Arguments> Borrow() const;
  void GiveBack(std::unique_ptr<Arguments> arguments) const;
  void AddSide(int place, int argument, const dnnl::memory::desc& user,
               const dnnl::memory::desc& inner, bool result);

  // set where this library's own kernel serves, and oneDNN is not asked
  std::optional<OwnKernel> own_;
  int64_t threads_;
  dnnl::primitive primitive_;
  dnnl::memory::desc scratchpad_;
  std::string implementation_;
  Side sides_[3];  // x, w, y
  size_t workspace_ = 0;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Arguments>> idle_;
};

}  // namespace jaxconv

#endif  // JAXCONV_PLAN_H_
