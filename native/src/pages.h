// Memory in large pages.
#ifndef JAXCONV_PAGES_H_
#define JAXCONV_PAGES_H_

#include <cstddef>

namespace jaxconv {

// Asks for large pages if a block is large and has none yet; its contents are kept.
void PreferLargePages(void* data, size_t bytes);

}  // namespace jaxconv

#endif  // JAXCONV_PAGES_H_
