"""Programs as the documentation of other libraries has them, with the one line changed.

Each program runs twice, as it is and with the line of our pages, and every array that it defines is
compared: shape, dtype and values.
"""

import jax
import numpy as np
import pytest

SCIPY = "from scipy import ndimage, signal"
OURS = "from jaxconv.compat.scipy import ndimage, signal"
NUMPY = "import numpy as np\nrng = np.random.default_rng(3)\n"

SIGNAL = {
    "pulses in noise": """
bits = np.repeat([0.0, 1, 0, 0, 1, 1], 64)
noisy = bits + rng.standard_normal(bits.size)
score = signal.correlate(noisy, np.ones(64), mode="same") / 64
read = score[np.arange(32, bits.size, 64)] > 0.5
window = signal.get_window("hann", 31)
soft = signal.convolve(bits, window, mode="same") / sum(window)
soft /= soft.max()
""",
    "the delay between two recordings": """
x = rng.standard_normal(300)
y = np.concatenate([rng.standard_normal(70), x])
both_ways = signal.correlate(x, y, mode="full")
lags = signal.correlation_lags(x.size, y.size, mode="full")
lag = lags[np.argmax(both_ways)]
auto = signal.fftconvolve(x, x[::-1], mode="full")
filtered = signal.oaconvolve(x, signal.firwin(41, 0.3), mode="same")
""",
    "gradient and template": """
image = rng.integers(0, 256, (48, 60)).astype(np.uint8)
scharr = np.array([[-3 - 3j, -10j, 3 - 3j], [-10, 0, 10], [-3 + 3j, 10j, 3 + 3j]])
gradient = signal.convolve2d(image, scharr, boundary="symm", mode="same")
size, angle = np.absolute(gradient), np.angle(gradient[1:9, 1:9])
scene = image - image.mean()
patch = np.copy(scene[20:31, 40:55])
patch -= patch.mean()
match = signal.correlate2d(scene, patch, boundary="symm", mode="same")
row, column = np.unravel_index(np.argmax(match), match.shape)
single = image.astype(np.float32)
second = np.array([1.0, -2, 1], dtype=np.float32)
curved = signal.sepfir2d(single, second, [1]) + signal.sepfir2d(single, [1], second)
""",
    "other rates": """
a = signal.upfirdn([1], [4, 2, 3], 3)
b = signal.upfirdn([0.5, 1, 0.5], np.arange(10), 2, 3)
c = signal.upfirdn([1, 1], np.reshape(np.arange(8), (4, 2)), 2, axis=0)
tone = np.cos(np.linspace(0, 8, 40, endpoint=False) ** 2 / 5)
d = signal.resample_poly(tone, 100, 20)
e = signal.decimate(tone, 2, ftype="fir")
""",
    "smooth, filter, envelope": """
x = np.array([2, 3, 5, 2, 1, 0, 1, 4, 9])
a = signal.savgol_filter(x, 5, 2)
b = signal.savgol_filter(x, 5, 2, mode="nearest")
c = signal.savgol_coeffs(5, 2, pos=4, deriv=1, use="dot").dot(x[-5:])
d, state = signal.lfilter([0.5, 0.25], 1, x / 4, zi=[0.5])
image = rng.random((20, 30))
e, f = signal.wiener(image, (5, 5)), signal.wiener(image, 3, 0.1)
t = np.arange(200) / 200
analytic = signal.hilbert((1 + 0.5 * np.sin(9 * t)) * np.cos(250 * t + 100 * t**2))
envelope = np.abs(analytic)
""",
}
NDIMAGE = {
    "correlation of lists": """
a = [0, 0, 0, 1, 0, 0, 0]
b = ndimage.correlate1d(a, [1, 1, 1], origin=-1)
c = ndimage.correlate1d(a, [-1, 1])
d = ndimage.convolve1d(a, [1, 2, 3], mode="mirror")
e = ndimage.correlate(np.arange(12).reshape(3, 4), [[0, 1, 0], [1, 2, 1]], mode="constant", cval=3)
f = ndimage.uniform_filter1d([2, 8, 0, 4, 1, 9, 9, 0], size=3)
""",
    "a derivative of one's own": """
def second(input, axis, output, mode, cval, weights):
    return ndimage.correlate1d(input, weights, axis, output, mode, cval, 0)


a = np.zeros((5, 6))
a[2, 3] = 1
b = ndimage.generic_laplace(a, second, extra_arguments=([1, -2, 1],))
c = ndimage.generic_laplace(a, second, extra_keywords={"weights": [1, -2, 1]})
d = ndimage.generic_gradient_magnitude(a, ndimage.sobel)
""",
    "photograph": """
image = rng.integers(0, 256, (40, 50)).astype(np.uint8)
blurred = ndimage.gaussian_filter(image.astype(float), 3)
sharpened = blurred + 30 * (blurred - ndimage.gaussian_filter(blurred, 1))
rows = ndimage.sobel(image.astype("int32"), 0, mode="constant")
size = np.hypot(rows, ndimage.sobel(image.astype("int32"), 1, mode="constant"))
size *= 255.0 / np.max(size)
a, b = ndimage.gaussian_filter(image, sigma=2), ndimage.uniform_filter(image, size=7)
c, d = ndimage.laplace(image), ndimage.gaussian_laplace(image, sigma=1)
e, f = ndimage.maximum_filter(image, size=5), ndimage.minimum_filter(image, size=(3, 5))
g = ndimage.gaussian_filter(image / 255, (1, 3), order=(0, 1), truncate=3)
""",
}
TORCH = """
import numpy as np
import torch
import torch.nn.functional as F

torch.manual_seed(0)
layer = torch.nn.Conv2d(3, 2, (4, 5))
images, weight = torch.randn(1, 3, 9, 11), layer.weight.detach()
columns = F.unfold(images, (4, 5))
product = weight.numpy().reshape(2, -1) @ np.asarray(columns)
folded = F.fold(torch.from_numpy(product), (6, 7), (1, 1))
direct = F.conv2d(images, weight, layer.bias.detach())
divisor = F.fold(F.unfold(torch.ones(1, 3, 9, 11), 2), output_size=(9, 11), kernel_size=2)
padded = F.pad(torch.ones(3, 3, 4, 2), (0, 1, 2, 1), "constant", 0)
edge = F.conv2d(torch.tensor([[[1.0, 1, 0, 0]]]), torch.tensor([[[[1.0, -1]]]]))
larger = F.conv_transpose2d(torch.arange(4.0).reshape(1, 1, 2, 2), torch.ones(1, 1, 2, 2), stride=2)
"""
OPENCV = """
import numpy as np
import cv2 as cv

rng = np.random.default_rng(5)
image = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
gray = image[..., 0].copy()
kernel = np.ones((5, 5), np.float32) / 25
mean = cv.filter2D(image, -1, kernel, None, (-1, -1), 0, cv.BORDER_DEFAULT)
box = cv.boxFilter(image, cv.CV_32F, (5, 3), normalize=False)
soft = cv.GaussianBlur(np.float32(image) / 255, (5, 5), 0)
sharp = cv.filter2D(image, ddepth=-1, kernel=np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]))
across = cv.Sobel(gray, cv.CV_64F, 1, 0, ksize=5)
shown = np.uint8(np.absolute(across))
down = cv.Scharr(gray, cv.CV_16S, 0, 1, borderType=cv.BORDER_REPLICATE)
focus = cv.Laplacian(gray, cv.CV_64F).var()
gabor = cv.getGaborKernel((21, 21), 4.0, np.pi / 4, 8.0, 0.5, 0, ktype=cv.CV_32F)
texture = cv.filter2D(gray, cv.CV_32F, gabor)
column = cv.getGaussianKernel(9, 1.5)
separable = cv.sepFilter2D(gray, cv.CV_32F, column, column)
"""
LAX = """
import jax
import jax.numpy as jnp
from jax.lax import conv_dimension_numbers
from jax.lax import conv_general_dilated

image = jax.random.normal(jax.random.key(0), (1, 30, 28, 3))
kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4)) / 9
numbers = conv_dimension_numbers(image.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
same = conv_general_dilated(image, kernel, (1, 1), "SAME", (1, 1), (1, 1), numbers)
wide = conv_general_dilated(image, kernel, (1, 1), "VALID", (1, 1), (12, 12), numbers)
strided = conv_general_dilated(image, kernel, (2, 2), "SAME", (1, 1), (1, 1), numbers)
larger = conv_general_dilated(image, kernel, (1, 1), ((0, 0), (0, 0)), (2, 2), (1, 1), numbers)
plain = conv_general_dilated(jnp.ones((1, 3, 9)), jnp.ones((2, 3, 3)), [1], padding=[(1, 1)])
"""


def arrays(program: str) -> dict[str, np.ndarray]:
    """Run the program and return what it defines that is a number or an array."""
    space = {"__name__": "script"}
    exec(compile(program, "a script", "exec"), space)
    return {name: np.asarray(value) for name, value in space.items() if is_array(value)}


def is_array(value) -> bool:
    return isinstance(value, int | float) or isinstance(getattr(value, "shape", None), tuple)


def assert_same_by_one_line(program: str, line: str, ours: str, tolerance: float = 1e-5):
    assert program.count(line) == 1
    promotion = jax.numpy_dtype_promotion("standard")  # as users have it
    with promotion, jax.default_matmul_precision("highest"):
        want, found = arrays(program), arrays(program.replace(line, ours))
    assert found.keys() == want.keys()
    for name, value in want.items():
        shorter = np.dtype(jax.dtypes.canonicalize_dtype(value.dtype)).name
        assert found[name].dtype.name in (value.dtype.name, shorter), name
        assert found[name].shape == value.shape, name
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, 0, tolerance * scale, err_msg=name)


@pytest.mark.parametrize("name", [*SIGNAL, *NDIMAGE])
def test_scipy(name):
    assert_same_by_one_line(f"{NUMPY}{SCIPY}\n{(SIGNAL | NDIMAGE)[name]}", SCIPY, OURS)


def test_torch(torch):
    line = "import torch.nn.functional as F"
    assert_same_by_one_line(TORCH, line, "import jaxconv.compat.torch as F")


def test_opencv():
    pytest.importorskip("cv2", minversion="5", reason="opencv-python-headless 5 is not installed")
    assert_same_by_one_line(OPENCV, "import cv2 as cv", "import jaxconv.compat.cv2 as cv")


def test_lax():
    line = "from jax.lax import conv_general_dilated"
    assert_same_by_one_line(LAX, line, "from jaxconv.compat.lax import conv_general_dilated")


def test_the_comparison_can_fail():
    program = "import numpy as np\nx = np.arange(3.0)"
    assert_same_by_one_line(program, "np.arange(3.0)", "np.arange(3, dtype=np.float32)")
    for other in ("np.arange(4.0)", "np.arange(3)", "np.arange(3.0) * 1.01", "0; y = 1"):
        with pytest.raises(AssertionError):
            assert_same_by_one_line(program, "np.arange(3.0)", other)
