// The functions that a loaded library calls in others, and others in their place.
#ifndef JAXCONV_IMPORTS_H_
#define JAXCONV_IMPORTS_H_

#include <cstddef>

namespace jaxconv {

struct Import {
  const char* name;
  void* from;
  void* to;
};

// In every loaded library in `folder` that imports all of them, replaces them; a library in which
// one is not `from` stays as it is. Returns whether there was one to replace them in.
bool ReplaceImports(const char* folder, const Import* imports, size_t count);

}  // namespace jaxconv

#endif  // JAXCONV_IMPORTS_H_
