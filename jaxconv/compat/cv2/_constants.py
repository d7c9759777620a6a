"""OpenCV's numbers for borders, depths and options, and the dtypes that its depths are."""

from collections.abc import Mapping

BORDER_CONSTANT = 0
BORDER_REPLICATE = 1
BORDER_REFLECT = 2
BORDER_WRAP = 3
BORDER_REFLECT_101 = 4
BORDER_REFLECT101 = BORDER_REFLECT_101
BORDER_DEFAULT = BORDER_REFLECT_101
BORDER_ISOLATED = 16

CV_8U = 0
CV_16U = 2
CV_16S = 3
CV_32S = 4
CV_32F = 5
CV_64F = 6

FILTER_SCHARR = -1

ALGO_HINT_DEFAULT = 0
ALGO_HINT_ACCURATE = 1
ALGO_HINT_APPROX = 2

# borderType -> its name, and the mode of `jaxconv.pad`
BORDERS: Mapping[int, tuple[str, str]] = {
    BORDER_CONSTANT: ("BORDER_CONSTANT", "zeros"),
    BORDER_REPLICATE: ("BORDER_REPLICATE", "replicate"),
    BORDER_REFLECT: ("BORDER_REFLECT", "symmetric"),
    BORDER_WRAP: ("BORDER_WRAP", "circular"),
    BORDER_REFLECT_101: ("BORDER_REFLECT_101", "reflect"),
}
# depth -> its name, and NumPy's dtype
DEPTHS: Mapping[int, tuple[str, str]] = {
    CV_8U: ("CV_8U", "uint8"),
    CV_16U: ("CV_16U", "uint16"),
    CV_16S: ("CV_16S", "int16"),
    CV_32S: ("CV_32S", "int32"),
    CV_32F: ("CV_32F", "float32"),
    CV_64F: ("CV_64F", "float64"),
}
