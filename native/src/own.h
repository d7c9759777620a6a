// This library's own kernels: which of them computes a problem, and whether faster than oneDNN.
#ifndef JAXCONV_OWN_H_
#define JAXCONV_OWN_H_

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "kernels.h"
#include "problem.h"
#include "space.h"

namespace jaxconv {

class OwnKernel {
 public:
  // Whether this CPU can run any, and oneDNN's limit (ONEDNN_MAX_CPU_ISA) allows it.
  static bool AnyHere();

  // Empty if no kernel of ours is for the problem, or not on this CPU.
  static std::optional<OwnKernel> For(const Problem& problem);

  // Whether it is faster than all that oneDNN has.
  bool IsFastest() const;

  // Whether it is faster than oneDNN's implementation of that name.
  bool IsFasterThan(const std::string& name) const;

  std::string name() const;
  int64_t scratch_bytes() const;

  // Computes the missing one of the three arrays.
  void Run(float* x, float* w, float* y, void* scratch) const;

 private:
  using Kind = std::variant<Depthwise, Stem>;

  OwnKernel(const Problem& problem, const Kernels& kernels, Kind kind)
      : kernels_(&kernels),
        contraction_(problem.contraction),
        threads_(problem.threads),
        kind_(std::move(kind)) {}

  const Kernels* kernels_;
  Contraction contraction_;
  int64_t threads_;
  Kind kind_;
};

}  // namespace jaxconv

#endif  // JAXCONV_OWN_H_
