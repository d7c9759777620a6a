"""Print the folder of oneDNN's headers and the path of its library, for CMakeLists.txt.

Both come from wheels, installed in the build's own environment or in the user's: the wheels'
records have the paths.
"""

from importlib.metadata import distribution


def located(wheel: str, ending: str) -> str:
    """Return the path of the file in an installed wheel that has this ending."""
    files = distribution(wheel).files or []
    path = next(file for file in files if str(file).endswith(ending))
    return str(path.locate().resolve())


header = located("onednn-devel-cpu-gomp", "include/dnnl.hpp")
library = located("onednn-cpu-gomp", "libdnnl.so.3")
print(f"{header.removesuffix('/dnnl.hpp')};{library}")
