// Memory for scratchpads and reordered arrays, kept from one run to the next.
#ifndef JAXCONV_WORKSPACE_H_
#define JAXCONV_WORKSPACE_H_

#include <cstddef>

namespace jaxconv {

// A block of at least `bytes`, aligned for oneDNN; given back when it goes out of scope.
class Workspace {
 public:
  explicit Workspace(size_t bytes);  // throws std::bad_alloc
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  void* at(size_t offset) const { return static_cast<char*>(data_) + offset; }

 private:
  void* data_ = nullptr;
};

}  // namespace jaxconv

#endif  // JAXCONV_WORKSPACE_H_
