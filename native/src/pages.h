// Memory in large pages.
#ifndef JAXCONV_PAGES_H_
#define JAXCONV_PAGES_H_

#include <cstddef>

namespace jaxconv {

// Asks for large pages where a block is large and has none yet; what is in it stays.
void PreferLargePages(void* data, size_t bytes);

}  // namespace jaxconv

#endif  // JAXCONV_PAGES_H_
