"""The two images to learn from: the user's, or a photograph and its filtered copy."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxconv import filters
from jaxconv._files import images
from jaxconv.learn import interior, predict


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two images, and for the demonstration the hidden kernel between them.

    Attributes:
        before: (H, W) or (H, W, 3), intensities.
        after: (H - h + 1, W - w + 1) or the same with 3 colours, intensities.
        kernel_size: (h, w).
        name: of the image before, for titles.
        truth: (h, w), the hidden kernel; None for the user's images.
        target: the hidden kernel's name.
        scale: intensity of one 8-bit level of after; None for the user's images.
        offset: intensity of level 0.
        remarks: lines for standard error.
    """

    before: np.ndarray
    after: np.ndarray
    kernel_size: tuple[int, int]
    name: str
    truth: np.ndarray | None = None
    target: str | None = None
    scale: float | None = None
    offset: float | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def floor(self) -> float | None:
        """The mean squared error of rounding to 8 bits, `scale ** 2 / 12`."""
        return None if self.scale is None else self.scale**2 / 12


def colours(pair: Pair, kernels: int) -> list[str]:
    """Name the planes that each kernel filters."""
    if kernels == 3:
        return ["red", "green", "blue"]
    return ["grey"] if pair.before.ndim == 2 else ["all colours"]


def parse_size(text: str) -> tuple[int, int]:
    """Read `5x3` as (5, 3) and `5` as (5, 5)."""
    match = re.fullmatch(r"(\d{1,4})(?:[xX](\d{1,4}))?", text.strip())
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(size) < 1:
        raise ValueError(
            f"--kernel must be HxW or one number, 1 or more, such as 5x5; got {text!r}"
        )
    return size


def demonstration(photo: str, target: str, kernel: str | None) -> Pair:
    """Filter a photograph with a named kernel and round the result to 8 bits."""
    if target not in filters.NAMES:
        raise ValueError(f"no target is called {target!r}; known: {', '.join(filters.NAMES)}")
    truth = np.asarray(filters.by_name(target), np.float32)
    if kernel is not None:
        truth = _centred(truth, parse_size(kernel), target)
    before, remarks = _photo(photo)
    h, w = truth.shape
    if h > before.shape[0] or w > before.shape[1]:
        raise ValueError(
            f"a {h}x{w} kernel is larger than the {before.shape[0]}x{before.shape[1]} image"
        )
    planes = [before] if before.ndim == 2 else [before[..., plane] for plane in range(3)]
    exact = np.stack([np.asarray(predict(p, truth)) for p in planes], axis=-1)  # pyright: ignore
    stored, scale, offset = images.quantise(exact[..., 0] if before.ndim == 2 else exact)
    return Pair(
        before=before,
        after=(stored * scale + offset).astype(np.float32),
        kernel_size=(h, w),
        name=Path(photo).stem,
        truth=truth,
        target=target,
        scale=scale,
        offset=offset,
        remarks=remarks,
    )


def from_files(before: Path, after: Path, kernel: str | None) -> Pair:
    """Read the user's two images and align them."""
    size = None if kernel is None else parse_size(kernel)
    x, x_remarks = images.read(before)
    y, y_remarks = images.read(after)
    if x.ndim != y.ndim:
        kinds = {2: "grey", 3: "colour"}
        raise ValueError(
            f"{before} is {kinds[x.ndim]} and {after} is {kinds[y.ndim]}; save both in one mode"
        )
    if size is None:
        size = (x.shape[0] - y.shape[0] + 1, x.shape[1] - y.shape[1] + 1)
        if size == (1, 1):
            raise ValueError(
                f"both images are {x.shape[0]}x{x.shape[1]}, which does not determine the kernel's "
                f"size; give it, as in --kernel 3x3"
            )
        if min(size) < 1:
            raise ValueError(
                f"{after} is {y.shape[0]}x{y.shape[1]}, larger than {before}, "
                f"{x.shape[0]}x{x.shape[1]}"
            )
    planes = interior(y if y.ndim == 2 else np.moveaxis(y, -1, 0), x.shape[:2], size)  # pyright: ignore
    return Pair(
        before=x,
        after=np.asarray(planes) if y.ndim == 2 else np.moveaxis(np.asarray(planes), 0, -1),
        kernel_size=size,
        name=before.stem,
        remarks=x_remarks + y_remarks,
    )


def _photo(photo: str) -> tuple[np.ndarray, list[str]]:
    if photo in images.SAMPLES:
        return images.sample(photo), []
    if Path(photo).suffix or Path(photo).exists():
        return images.read(photo)
    return images.sample(photo), []  # raises, with the known names


def _centred(truth: np.ndarray, size: tuple[int, int], target: str) -> np.ndarray:
    # zeros around the kernel are to be learned; only centred, the kernel has one position
    spare = [n - m for n, m in zip(size, truth.shape, strict=True)]
    if min(spare) < 0 or any(n % 2 for n in spare):
        h, w = truth.shape
        raise ValueError(
            f"--kernel {size[0]}x{size[1]} cannot hold {target} ({h}x{w}) at its centre; "
            f"try {h}x{w} or {h + 2}x{w + 2}"
        )
    return np.pad(truth, [(n // 2, n // 2) for n in spare])
