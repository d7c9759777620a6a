"""The cases: layers of real networks at their real sizes, and filters of one plane."""

from dataclasses import dataclass
from typing import Any

from jaxconv._core.geometry.spec import ConvSpec, normalise, normalise_transpose


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One convolution layer.

    Attributes:
        name: network and place in it.
        x: (n, *space, channels), the input's shape.
        w: (*kernel, in // groups, out), as in `conv` or, if transposed, `conv_transpose`.
        padding: zeros before and as many after, or "causal".
        output_padding: of a transposed layer.
        transposed: whether it is a `conv_transpose`.
        quick: whether `--quick` keeps it.
    """

    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: int = 1
    padding: int | str = 0
    dilation: int = 1
    groups: int = 1
    output_padding: int = 0
    transposed: bool = False
    quick: bool = False

    @property
    def rank(self) -> int:
        """Number of spatial dimensions."""
        return len(self.w) - 2

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `jaxconv.conv` or `jaxconv.conv_transpose`."""
        arguments: dict[str, Any] = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }
        return arguments | ({"output_padding": self.output_padding} if self.transposed else {})

    @property
    def spec(self) -> ConvSpec:
        """The geometry; for a transposed layer, that of its adjoint."""
        check = normalise_transpose if self.transposed else normalise
        return check(self.name, self.x, self.w, **self.arguments)

    @property
    def y(self) -> tuple[int, ...]:
        """(n, *space', channels), the output's shape."""
        if self.transposed:
            return (self.x[0], *self.spec.input_size, self.w[-2] * self.groups)
        return (self.x[0], *self.spec.output_size, self.w[-1])


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One plane and one kernel, correlated to the plane's size with zeros outside."""

    size: int
    kernel: tuple[int, int]
    quick: bool = False

    @property
    def name(self) -> str:
        """Kernel size and plane size."""
        return f"{self.kernel[0]}x{self.kernel[1]} on {self.size}^2"


KERNELS = ((3, 3), (1, 2), (7, 7), (31, 31), (64, 64))
PLANES = tuple(
    Plane(size=size, kernel=kernel, quick=size == 512)
    for kernel in KERNELS
    for size in (512, 1024, 2048, 4096)
)


def plain(name: str, x: tuple[int, ...], out: int, kernel: Any, **arguments: Any) -> Layer:
    """A layer from the shape of its input, its channels and its kernel's size."""
    groups = arguments.get("groups", 1)
    kernel = (kernel,) * (len(x) - 2) if isinstance(kernel, int) else kernel
    return Layer(name=name, x=x, w=(*kernel, x[-1] // groups, out), **arguments)


def depthwise(name: str, x: tuple[int, ...], kernel: Any, **arguments: Any) -> Layer:
    """A layer with one group for each channel."""
    return plain(name, x, x[-1], kernel, groups=x[-1], **arguments)


def up(name: str, x: tuple[int, ...], out: int, kernel: int, **arguments: Any) -> Layer:
    """A transposed layer."""
    w = (*(kernel,) * (len(x) - 2), out, x[-1])
    return Layer(name=name, x=x, w=w, transposed=True, **arguments)


LAYERS = (
    plain("ResNet-50 stem 7x7 /2", (4, 224, 224, 3), 64, 7, stride=2, padding=3),
    plain("ResNet-50 conv2 3x3", (4, 56, 56, 64), 64, 3, padding=1),
    plain("ResNet-50 conv3 3x3", (4, 28, 28, 128), 128, 3, padding=1, quick=True),
    plain("ResNet-50 conv3 3x3 /2", (4, 56, 56, 128), 128, 3, stride=2, padding=1),
    plain("ResNet-50 conv4 3x3", (4, 14, 14, 256), 256, 3, padding=1),
    plain("ResNet-50 conv5 3x3", (4, 7, 7, 512), 512, 3, padding=1),
    plain("ResNet-50 conv2 1x1 out", (4, 56, 56, 64), 256, 1),
    plain("ResNet-50 conv4 1x1 in", (4, 14, 14, 1024), 256, 1, quick=True),
    plain("ResNet-50 conv3 1x1 /2", (4, 56, 56, 256), 512, 1, stride=2),
    plain("VGG-16 conv1_1", (1, 224, 224, 3), 64, 3, padding=1),
    plain("VGG-16 conv1_2", (1, 224, 224, 64), 64, 3, padding=1),
    plain("VGG-16 conv3_2", (2, 56, 56, 256), 256, 3, padding=1),
    plain("VGG-16 conv5_1", (4, 14, 14, 512), 512, 3, padding=1),
    plain("U-Net first 3x3", (1, 572, 572, 1), 64, 3),
    plain("U-Net up 3x3", (1, 200, 200, 256), 128, 3),
    plain("AlexNet stem 11x11 /4", (8, 224, 224, 3), 64, 11, stride=4, padding=2),
    plain("AlexNet conv2 5x5", (8, 27, 27, 64), 192, 5, padding=2),
    depthwise("MobileNet depthwise 32", (4, 112, 112, 32), 3, padding=1),
    depthwise("MobileNet depthwise 64 /2", (4, 112, 112, 64), 3, stride=2, padding=1),
    depthwise("MobileNet depthwise 512", (4, 14, 14, 512), 3, padding=1, quick=True),
    plain("MobileNet pointwise 32", (4, 112, 112, 32), 64, 1),
    plain("MobileNet pointwise 512", (4, 14, 14, 512), 512, 1),
    depthwise("EfficientNet depthwise 5x5 /2", (4, 56, 56, 144), 5, stride=2, padding=2),
    plain("ConvNeXt stem 4x4 /4", (4, 224, 224, 3), 96, 4, stride=4),
    depthwise("ConvNeXt depthwise 7x7, 96", (4, 56, 56, 96), 7, padding=3),
    depthwise("ConvNeXt depthwise 7x7, 384", (4, 14, 14, 384), 7, padding=3, quick=True),
    depthwise("RepLKNet depthwise 31x31", (1, 56, 56, 128), 31, padding=15),
    depthwise("RepLKNet depthwise 27x27", (1, 28, 28, 256), 27, padding=13),
    depthwise("RepLKNet depthwise 13x13", (1, 7, 7, 1024), 13, padding=6),
    plain("ResNeXt 3x3, 128 in 32", (4, 56, 56, 128), 128, 3, padding=1, groups=32),
    plain("ResNeXt 3x3, 256 in 32", (4, 28, 28, 256), 256, 3, padding=1, groups=32, quick=True),
    plain("ResNeXt 3x3, 512 in 32", (4, 14, 14, 512), 512, 3, padding=1, groups=32),
    plain("ShuffleNet 1x1, 240 in 3", (4, 28, 28, 240), 240, 1, groups=3),
    plain("DeepLab 3x3 dilated 12", (1, 33, 33, 2048), 256, 3, padding=12, dilation=12),
    plain("DRN 3x3 dilated 2", (2, 28, 28, 256), 256, 3, padding=2, dilation=2),
    plain("wav2vec 2.0 first 10 /5", (2, 16000, 1), 512, 10, stride=5),
    plain("wav2vec 2.0 3 /2", (2, 3199, 512), 512, 3, stride=2),
    plain("wav2vec 2.0 position 128", (2, 199, 768), 768, 128, padding=64, groups=16),
    plain("WaveNet 2 dilated 64", (2, 8000, 32), 64, 2, padding="causal", dilation=64, quick=True),
    depthwise("Mamba causal depthwise 4", (1, 1024, 1536), 4, padding="causal", quick=True),
    plain("C3D conv1", (1, 16, 112, 112, 3), 64, 3, padding=1),
    plain("C3D conv3", (1, 8, 28, 28, 128), 256, 3, padding=1),
    depthwise("X3D depthwise 3x3x3", (1, 16, 28, 28, 108), 3, padding=1, quick=True),
    plain("3D U-Net 3x3x3", (1, 32, 32, 32, 32), 64, 3, padding=1),
    up("DCGAN 4x4 x2, 512", (8, 8, 8, 512), 256, 4, stride=2, padding=1, quick=True),
    up("DCGAN 4x4 x2, last", (8, 32, 32, 64), 3, 4, stride=2, padding=1),
    up("U-Net up 2x2 x2", (1, 28, 28, 1024), 512, 2, stride=2),
    up("CycleGAN 3x3 x2", (1, 64, 64, 256), 128, 3, stride=2, padding=1, output_padding=1),
    up("HiFi-GAN 16 x8", (1, 256, 256), 128, 16, stride=8, padding=4),
    up("3D U-Net up 2x2x2 x2", (1, 16, 16, 16, 128), 64, 2, stride=2),
)
MODES = ("forward", "forward+backward")
