"""Five networks, each written once for every framework: a function of a builder and an image.

A builder (`Layers`) has the layers' names in order, "conv1", "norm1", ..., and makes or calls the
layer of that name; what it hands from layer to layer is an array of its framework.
"""

import abc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Layers(abc.ABC):
    """The layers and functions that the networks below are made of."""

    def __init__(self):
        self._count: Counter[str] = Counter()

    def name(self, kind: str) -> str:
        """Return the name of the next layer of a kind."""
        self._count[kind] += 1
        return f"{kind}{self._count[kind]}"

    @abc.abstractmethod
    def channels(self, x: Any) -> int:
        """Return the number of channels."""

    @abc.abstractmethod
    def conv(
        self, x: Any, features: int, size: int, *, stride: int = 1, groups: int = 1, bias=False
    ) -> Any:
        """Convolve with a square kernel, with size // 2 zeros on each side."""

    @abc.abstractmethod
    def conv_transpose(self, x: Any, features: int) -> Any:
        """Double the size by a transposed convolution of 2x2 and stride 2, with a bias."""

    @abc.abstractmethod
    def dense(self, x: Any, features: int) -> Any:
        """Map the channels by a matrix, with a bias."""

    @abc.abstractmethod
    def batch_norm(self, x: Any) -> Any:
        """Normalize each channel over the batch."""

    @abc.abstractmethod
    def layer_norm(self, x: Any) -> Any:
        """Normalize each pixel over its channels."""

    @abc.abstractmethod
    def apply(self, function: str, x: Any) -> Any:
        """Apply "relu", "gelu", "silu" or "sigmoid" to each element."""

    @abc.abstractmethod
    def max_pool(self, x: Any) -> Any:
        """Take the largest of every 2x2 pixels."""

    @abc.abstractmethod
    def mean(self, x: Any, *, keep: bool = False) -> Any:
        """Average over all pixels; keep the spatial dimensions with size 1 if asked."""

    @abc.abstractmethod
    def concatenate(self, *xs: Any) -> Any:
        """Put the channels of several arrays side by side."""

    def conv_norm(
        self, x: Any, features: int, size: int, act: str = "relu", **geometry: Any
    ) -> Any:
        """A convolution, batch norm and an activation ("" for none)."""
        h = self.batch_norm(self.conv(x, features, size, **geometry))
        return self.apply(act, h) if act else h


def wide_residual(layers: Layers, x: Any) -> Any:
    """Basic blocks of two 3x3 in three stages, for small images (Zagoruyko and Komodakis, 2016)."""
    h = layers.conv(x, 16, 3)
    for features, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        a = layers.apply("relu", layers.batch_norm(h))
        same = stride == 1 and layers.channels(h) == features
        shortcut = h if same else layers.conv(a, features, 1, stride=stride)
        a = layers.conv_norm(a, features, 3, stride=stride)
        h = shortcut + layers.conv(a, features, 3)
    h = layers.apply("relu", layers.batch_norm(h))
    return layers.dense(layers.mean(h), 100)


def efficient(layers: Layers, x: Any) -> Any:
    """Inverted bottlenecks with squeeze and excitation (Tan and Le, 2019)."""
    h = layers.conv_norm(x, 32, 3, "silu", stride=2)
    for features, expansion, size, stride in (
        (16, 1, 3, 1),
        (24, 6, 3, 2),
        (24, 6, 3, 1),
        (40, 6, 5, 2),
        (40, 6, 5, 1),
        (80, 6, 3, 2),
        (80, 6, 3, 1),
        (112, 6, 5, 1),
    ):
        start = layers.channels(h)
        wide = start * expansion
        a = h if expansion == 1 else layers.conv_norm(h, wide, 1, "silu")
        a = layers.conv_norm(a, wide, size, "silu", stride=stride, groups=wide)
        squeezed = layers.conv(layers.mean(a, keep=True), start // 4, 1, bias=True)
        squeezed = layers.conv(layers.apply("silu", squeezed), wide, 1, bias=True)
        a = layers.conv_norm(a * layers.apply("sigmoid", squeezed), features, 1, "")
        h = h + a if stride == 1 and start == features else a
    h = layers.conv_norm(h, 448, 1, "silu")
    return layers.dense(layers.mean(h), 100)


def regnet(layers: Layers, x: Any) -> Any:
    """Bottlenecks with grouped 3x3, 16 channels a group (Radosavovic et al., 2020)."""
    h = layers.conv_norm(x, 32, 3, stride=2)
    for features, stride in ((48, 2), (96, 2), (96, 1), (192, 2), (192, 1), (192, 1)):
        same = stride == 1 and layers.channels(h) == features
        shortcut = h if same else layers.conv_norm(h, features, 1, "", stride=stride)
        a = layers.conv_norm(h, features, 1)
        a = layers.conv_norm(a, features, 3, stride=stride, groups=features // 16)
        h = layers.apply("relu", shortcut + layers.conv_norm(a, features, 1, ""))
    return layers.dense(layers.mean(h), 100)


def large_kernels(layers: Layers, x: Any) -> Any:
    """Depthwise 7x7, layer norm and two dense layers in each block (Liu et al., 2022)."""
    h = layers.layer_norm(layers.conv(x, 48, 4, stride=4, bias=True))
    for features, blocks in ((48, 2), (96, 2), (192, 3)):
        if layers.channels(h) != features:
            h = layers.conv(layers.layer_norm(h), features, 2, stride=2, bias=True)
        for _ in range(blocks):
            a = layers.conv(h, features, 7, groups=features, bias=True)
            a = layers.dense(layers.layer_norm(a), 4 * features)
            h = h + layers.dense(layers.apply("gelu", a), features)
    return layers.dense(layers.mean(h), 100)


def encoder_decoder(layers: Layers, x: Any) -> Any:
    """Halve and double the size, with the halves' inputs beside (Ronneberger et al., 2015)."""
    skipped, h = [], x
    for features in (24, 48, 96):
        h = layers.conv_norm(layers.conv_norm(h, features, 3), features, 3)
        skipped.append(h)
        h = layers.max_pool(h)
    h = layers.conv_norm(layers.conv_norm(h, 192, 3), 192, 3)
    for beside in reversed(skipped):
        features = layers.channels(beside)
        h = layers.concatenate(beside, layers.conv_transpose(h, features))
        h = layers.conv_norm(layers.conv_norm(h, features, 3), features, 3)
    return layers.conv(h, 2, 1, bias=True)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and the images that it is measured on.

    Attributes:
        name: in tables.
        define: the network, as a function of a builder and images.
        image: height, width and channels.
        smooth: whether it has no ReLU and takes no maximum, so that its gradient is continuous.
    """

    name: str
    define: Callable[[Layers, Any], Any]
    image: tuple[int, int, int]
    smooth: bool = False


NETWORKS = (
    Network(name="wide residual", define=wide_residual, image=(32, 32, 3)),
    Network(name="efficient", define=efficient, image=(128, 128, 3), smooth=True),
    Network(name="regnet", define=regnet, image=(128, 128, 3)),
    Network(name="large kernels", define=large_kernels, image=(128, 128, 3), smooth=True),
    Network(name="encoder-decoder", define=encoder_decoder, image=(128, 128, 1)),
)
