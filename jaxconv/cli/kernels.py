"""The kernels of `jaxconv apply`: by name, or from a file that `jaxconv learn` wrote."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxconv import filters


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel to filter with.

    Attributes:
        planes: (1, h, w), one for all colours, or (3, h, w).
        bias: (1,) or (3,), added to the intensities.
        name: for messages and the name of the output.
        built_in: whether it is one of `jaxconv.filters`, not from a file.
    """

    planes: np.ndarray
    bias: np.ndarray
    name: str
    built_in: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.planes.shape[1], self.planes.shape[2]

    @property
    def largest_response(self) -> float:
        """The largest response to intensities from 0 to 1, 1 if all are zero."""
        positive, negative = (np.maximum(s * self.planes, 0).sum((1, 2)) for s in (1, -1))
        return float(np.max(np.maximum(positive, negative) + np.abs(self.bias))) or 1.0

    def for_image(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The kernel and bias for `apply_tiled`, which filter each channel alone."""
        if len(shape) not in (2, 3):
            raise ValueError(f"the image has shape {shape}; expected (H, W) or (H, W, channels)")
        count = 1 if len(shape) == 2 else shape[2]
        if len(self.planes) not in (1, count):
            colours = "is grey" if count == 1 else f"has {count} channels"
            raise ValueError(f"{self.name} has a kernel for each colour, but the image {colours}")
        h, w = self.size
        if h > shape[0] or w > shape[1]:
            raise ValueError(f"a {h}x{w} kernel is larger than the {shape[0]}x{shape[1]} image")
        if len(shape) == 2:
            return self.planes[0], self.bias
        planes = np.broadcast_to(self.planes, (count, h, w))
        return np.moveaxis(planes, 0, -1)[:, :, None], np.broadcast_to(self.bias, count)


def read_kernel(kernel: str) -> Kernel:
    """Return a kernel by its name, or from a file that `jaxconv learn` wrote.

    Args:
        kernel: one of `filters.NAMES`, a .npy file, a .csv file with its biases, or a folder of
            results, whose kernel.csv is read.

    Raises:
        ValueError: none of these, or a file with other contents.
    """
    path = Path(kernel)
    if kernel in filters.NAMES:
        return Kernel(
            planes=filters.by_name(kernel)[None], bias=np.zeros(1), name=kernel, built_in=True
        )
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
            planes = _read_npy(path)
        else:
            planes, bias = _read_csv(_text(path))
        if np.iscomplexobj(planes):
            raise ValueError("its weights are complex")
        with np.errstate(over="ignore"):  # overflow gives infinity, which is refused below
            planes = np.asarray(planes, np.float32)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as a kernel ({error})") from error
    planes = planes[None] if planes.ndim == 2 else planes
    if planes.ndim != 3 or len(planes) not in (1, 3) or not planes.size:
        raise ValueError(
            f"{path}: contains an array of shape {planes.shape}; expected (h, w) or (3, h, w)"
        )
    if not np.isfinite(planes).all():
        raise ValueError(f"{path}: has weights that are NaN or infinite")
    return Kernel(
        planes=planes,
        bias=np.asarray(bias or np.zeros(len(planes)), np.float32),
        name=path.parent.name if Path(kernel).is_dir() else path.stem,
        built_in=False,
    )


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        # NumPy takes any other file for a pickle, and its message suggests to load that
        if file.read(6) != b"\x93NUMPY":
            raise ValueError("its first bytes are not those of a .npy file")
    return np.load(path, allow_pickle=False)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
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
