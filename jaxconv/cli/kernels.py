"""The kernels of `jaxconv apply`: by name, or from a file that `jaxconv learn` wrote."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxconv import filters
from jaxconv._files.axes import check_axes, examples

AXES = ("YX", "CYX", "ZYX", "CZYX")


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel to filter with.

    Attributes:
        weights: (h, w) or (d, h, w), one for all channels, or (channels, h, w), (channels, d, h,
            w).
        axes: "YX", "ZYX", "CYX" or "CZYX"; "" for three that may be the second or the third.
        bias: one number, or one a channel; added to the intensities.
        name: for messages and the name of the output.
        built_in: whether it is one of `jaxconv.filters`, not from a file.
        remarks: what its file leaves out.
    """

    weights: np.ndarray
    axes: str
    bias: np.ndarray
    name: str
    built_in: bool
    remarks: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width, or depth, height and width."""
        return self.weights.shape[self.axes.startswith("C") :]

    def largest_response(self, *, signed: bool = False) -> float:
        """The largest response to intensities from 0, or -1, to 1; 1 if all are zero."""
        planes = self.weights.reshape(len(self.weights) if self.axes.startswith("C") else 1, -1)
        positive, negative = (np.maximum(s * planes, 0).sum(1) for s in (1, -1))
        largest = positive + negative if signed else np.maximum(positive, negative)
        return float(np.max(largest + np.abs(self.bias))) or 1.0

    def text(self, dtype: str) -> str:
        """Describe it: its name, its size and the bias that is added, in levels of a file."""
        size = "x".join(map(str, self.size))
        if not np.any(self.bias):
            return f"{self.name} ({size})"
        white = white_level(dtype)
        values = ", ".join(f"{white * b:+.3g}" for b in np.unique(self.bias))
        unit = "" if white == 1 else " levels"
        return f"{self.name} ({size}) and its learned bias {values}{unit}"

    def for_image(self, axes: str, shape: tuple[int, ...]) -> "Kernel":
        """The kernel with its axes known from those of an image.

        Raises:
            ValueError: not a kernel for this image, or it may be meant in two ways.
        """
        channel = next((shape[axes.index(a)] for a in "SC" if a in axes), 1)
        known, count, shown = self.axes, self.weights.shape[0], self.weights.shape
        if not known:
            depth, one_each = "Z" in axes, channel == count
            if depth and one_each:
                raise ValueError(
                    f"{self.name} of {shown} may be a kernel for volumes or one for each of "
                    f"{count} channels; --kernel-axes ZYX or --kernel-axes CYX says which"
                )
            known = "ZYX" if depth else "CYX"
        if known.startswith("C") and channel != count:
            colours = "is grey" if channel == 1 else f"has {channel} channels"
            each = "each colour" if count == 3 else f"each of {count} channels"
            hint = "" if self.axes else "; for a volume, name its axes: --axes ZYX"
            hint = hint if channel == 1 and len(axes) > 2 else ""
            raise ValueError(f"{self.name} has a kernel for {each}, but the image {colours}{hint}")
        space = known.removeprefix("C")
        if not set(space) <= set(axes):
            raise ValueError(
                f"{self.name} is a kernel over {', '.join(space)}, but the axes of the image are "
                f"{axes}; --axes names them"
            )
        kernel = shown[known.startswith("C") :]
        sizes = tuple(shape[axes.index(letter)] for letter in space)
        if any(k > n for k, n in zip(kernel, sizes, strict=True)):
            small, large = ("x".join(map(str, each)) for each in (kernel, sizes))
            raise ValueError(f"a {small} kernel is larger than the {large} image")
        return Kernel(**{**vars(self), "axes": known})

    def arguments(self) -> dict[str, object]:
        """The arguments of `apply_tiled`; its channels are each filtered alone."""
        if not self.axes.startswith("C"):
            return {"kernel": self.weights, "bias": self.bias}
        count = len(self.weights)
        kernel = np.moveaxis(self.weights, 0, -1)[..., None, :]
        return {"kernel": kernel, "bias": np.broadcast_to(self.bias, count), "groups": count}


def white_level(dtype: str) -> int:
    """The level that intensity 1 is stored as; 1 for floating-point values."""
    kind = np.dtype(dtype).kind
    return int(np.iinfo(dtype).max) + (kind == "i") if kind in "iu" else 1


def image_axes(axes: str, shape: tuple[int, ...], given: str | None, image: Path) -> str:
    """The letters of an image's axes: given, or those of its file.

    Raises:
        ValueError: the file says nothing, and there are more than two; or wrong ones are given.
    """
    if given is not None:
        return check_axes(given, shape)
    if axes or len(shape) == 2:
        return axes or "YX"
    raise ValueError(
        f"{image}: does not say which of its axes {shape} is what; say it: --axes "
        f"{examples(len(shape))}"
    )


def read_kernel(kernel: str, axes: str | None = None) -> Kernel:
    """Return a kernel by its name, or from a file that `jaxconv learn` wrote.

    Args:
        kernel: one of `filters.NAMES`, a .npy file, a .csv file with its biases, or a folder of
            results, whose kernel.csv is read.
        axes: of the array in a .npy file; None for what its rank says.

    Raises:
        ValueError: none of these, or a file with other contents.
    """
    path = Path(kernel)
    axes = None if axes is None else axes.upper()
    if axes is not None and axes not in AXES:
        raise ValueError(f"--kernel-axes must be one of {', '.join(AXES)}; got {axes!r}")
    if axes is not None and path.suffix != ".npy":
        raise ValueError(f"--kernel-axes is for a .npy file; {kernel} says what its axes are")
    if kernel in filters.NAMES:
        weights = filters.by_name(kernel)
        return Kernel(weights=weights, axes="YX", bias=np.zeros(1), name=kernel, built_in=True)
    if not kernel or not path.exists():
        raise ValueError(
            f"{kernel!r} is neither a known kernel nor a file; known: {', '.join(filters.NAMES)}; "
            "or name a .npy or .csv file that jaxconv learn wrote"
        )
    if path.is_dir():
        if not (path / "kernel.csv").exists():
            raise ValueError(
                f"{path}: contains no kernel.csv; name a folder that jaxconv learn wrote"
            )
        path = path / "kernel.csv"
    bias: list[float] = []
    try:
        if path.suffix == ".npy":
            weights = _read_npy(path)
        else:
            weights, bias = _read_csv(_text(path))
        if np.iscomplexobj(weights):
            raise ValueError("its weights are complex")
        with np.errstate(over="ignore"):  # overflow gives infinity, which is refused below
            weights = np.asarray(weights, np.float32)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as a kernel ({error})") from error
    if path.suffix != ".npy":
        axes = "CYX"
    if axes is None and weights.ndim == 3 and len(weights) == 1:
        weights = weights[0]
    known = {2: "YX", 3: "", 4: "CZYX"} if axes is None else {len(axes): axes}
    if weights.ndim not in known or not weights.size:
        expected = "(h, w), (d, h, w) or (channels, h, w)" if axes is None else f"the axes {axes}"
        raise ValueError(f"{path}: contains an array of shape {weights.shape}; expected {expected}")
    if not np.isfinite(weights).all():
        raise ValueError(f"{path}: has weights that are NaN or infinite")
    axes = known[weights.ndim]
    if axes == "CYX" and len(weights) == 1:
        axes, weights = "YX", weights[0]
    return Kernel(
        weights=weights,
        axes=axes,
        bias=np.asarray(bias or np.zeros(1), np.float32),
        name=path.parent.name if Path(kernel).is_dir() else path.stem,
        built_in=False,
        remarks=_bias_beside(path) if path.suffix == ".npy" else (),
    )


def _bias_beside(path: Path) -> tuple[str, ...]:
    """A remark where the same kernel's csv has a bias, which a .npy file cannot."""
    other = path.with_suffix(".csv")
    with contextlib.suppress(ValueError, OSError):
        if other.exists() and any(_read_csv(_text(other))[1]):
            return (f"without the learned bias, which is in {other}",)
    return ()


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        # NumPy takes any other file for a pickle, and its message suggests to load that
        if file.read(6) != b"\x93NUMPY":
            raise ValueError("its first bytes are not those of a .npy file")
    return np.load(path, allow_pickle=False)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # with or without a byte order mark
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None


def _read_csv(text: str) -> tuple[np.ndarray, list[float]]:
    # as report.py writes it: "# colour, bias b", then the rows; one block, or one for each colour
    blocks: list[list[list[float]]] = []
    bias: list[float] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("#"):
            blocks.append([])
            bias.append(float(line.rpartition(", bias ")[2]) if ", bias " in line else 0.0)
        else:
            if not blocks:
                blocks.append([])
                bias.append(0.0)
            blocks[-1].append([float(number) for number in line.split(",")])
    if len({len(row) for block in blocks for row in block}) > 1 or len(set(map(len, blocks))) > 1:
        raise ValueError("its rows differ in length, or its kernels in size")
    return np.array(blocks, np.float32), bias
