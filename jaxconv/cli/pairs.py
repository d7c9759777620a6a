"""The two images to learn from: the user's, or a photograph and its filtered copy."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv import filters
from jaxconv._files import images
from jaxconv.cli import usable
from jaxconv.cli.usable import Ends, Limits
from jaxconv.learn import interior, predict, usable_outputs


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
        weights: of after's shape, True where it is used; None if all of it is.
        levels: the stored level of intensity 1, of before and of after; 1 for floats.
        steps: the intensity of one stored level of before and of after; 0 for floats.
        ends: of after, what is at the ends of its type's range; None for floats.
        others: more pairs that the same kernel is learned from, for the user's images.
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
    weights: np.ndarray | None = None
    levels: tuple[int, int] = (1, 1)
    steps: tuple[float, float] = (0.0, 0.0)
    ends: Ends | None = None
    others: tuple["Pair", ...] = ()

    @property
    def every(self) -> tuple["Pair", ...]:
        """This pair and the others."""
        return self, *self.others

    @property
    def outputs(self) -> tuple[int, int]:
        """How many values of after are used, and how many there are, in all pairs."""
        used = (p.after.size if p.weights is None else int(p.weights.sum()) for p in self.every)
        return sum(used), sum(p.after.size for p in self.every)

    @property
    def floor(self) -> float | None:
        """The mean squared error of rounding to 8 bits, `scale ** 2 / 12`."""
        return None if self.scale is None else self.scale**2 / 12


@dataclass(frozen=True, kw_only=True)
class Planes:
    """The images that one kernel is learned from.

    Attributes:
        xs: for each pair (H, W), or (colours, H, W).
        ys: likewise, (H - h + 1, W - w + 1).
        ws: which outputs are used, of the shapes of ys; None if all are.
    """

    xs: list[np.ndarray]
    ys: list[np.ndarray]
    ws: list[np.ndarray] | None


def planes(pair: Pair, kernels: int) -> list[Planes]:
    """The images of each kernel: a plane of every pair, or all colours as a batch."""

    def rows(arrays: list[np.ndarray]) -> list[list[np.ndarray]]:
        # (H, W, 3) -> (3, H, W)
        first = [np.moveaxis(a, -1, 0) if a.ndim == 3 else a[None] for a in arrays]
        return [first] if kernels == 1 else [[a[n] for a in first] for n in range(kernels)]

    every = pair.every
    xs, ys = rows([p.before for p in every]), rows([p.after for p in every])
    ws: list[list[np.ndarray] | None] = [None] * kernels
    if any(p.weights is not None for p in every):
        full = [np.ones(p.after.shape, bool) if p.weights is None else p.weights for p in every]
        ws = [*rows(full)]
    return [Planes(xs=x, ys=y, ws=w) for x, y, w in zip(xs, ys, ws, strict=True)]


def colours(pair: Pair, kernels: int) -> list[str]:
    """Name the planes that each kernel filters."""
    if kernels == 3:
        return list(usable.COLOURS)
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


def parse_pair(text: str) -> tuple[Path, Path]:
    """Read `before.png:after.png`; of names with colons, the division into two files that exist."""
    parts = text.split(":")
    found = [
        (Path(":".join(parts[:n])), Path(":".join(parts[n:])))
        for n in range(1, len(parts))
        if all(parts[n - 1 : n + 1])
    ]
    there = [pair for pair in found if all(path.exists() for path in pair)]
    if len(there or found) != 1:
        raise ValueError(f"--pair must be BEFORE:AFTER, two image files; got {text!r}")
    return (there or found)[0]


def demonstration(photo: str, target: str, kernel: str | None) -> Pair:
    """Filter a photograph with a named kernel and round the result to 8 bits."""
    if target not in filters.NAMES:
        raise ValueError(f"no target is called {target!r}; known: {', '.join(filters.NAMES)}")
    truth = np.asarray(filters.by_name(target), np.float32)
    if kernel is not None:
        truth = _centred(truth, parse_size(kernel), target)
    before, level, remarks = _photo(photo)
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
        levels=(level, level),
        steps=(0.0, scale),
    )


def from_files(
    before: Path,
    after: Path,
    kernel: str | None,
    *,
    mask: Path | None = None,
    mask_before: Path | None = None,
    limits: Limits | None = None,
    one_kernel: bool = False,
) -> Pair:
    """Read the user's two images, align them, and find the values that can be used.

    Args:
        before: the image before the filter.
        after: the image after it.
        kernel: the size of the kernel, None to read it off the images.
        mask: for after, None for none.
        mask_before: for before, None for none.
        limits: the option `--saturated`.
        one_kernel: whether one kernel is learned from all colours, rather than one from each.

    Raises:
        ValueError: the images cannot be read or do not fit, or no output can be used.
    """
    size = None if kernel is None else parse_size(kernel)
    limits = Limits() if limits is None else limits
    first, second = usable.read(before), usable.read(after)
    x, y = first.pixels, second.pixels
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

    def inner(image: np.ndarray) -> np.ndarray:
        """The part of an image of after's size that a kernel wholly inside before computes."""
        moved: Any = image if image.ndim == 2 else np.moveaxis(image, -1, 0)
        cut = np.asarray(interior(moved, x.shape[:2], size))  # pyright: ignore
        return cut if image.ndim == 2 else np.moveaxis(cut, 0, -1)

    pixels = inner(y)
    good, known = first.within(limits), second.within(limits)
    if mask_before is not None:
        good = good & usable.read_mask("--mask-before", mask_before, before, x.shape)
    if mask is not None:
        known = known & usable.read_mask("--mask", mask, after, y.shape)
    weights = inner(known)
    if not good.all():
        planes = good[None] if good.ndim == 2 else np.moveaxis(good, -1, 0)
        reading = np.asarray(usable_outputs(planes, size))  # pyright: ignore
        weights = weights & (reading[0] if good.ndim == 2 else np.moveaxis(reading, 0, -1))
    remarks = [*first.remarks, *second.remarks]
    ends = usable.count_ends(second)
    if not limits.none:
        clipped = inner(usable.clipped(second, ends, limits))
        left = weights & ~clipped
        # those that one kernel is learned from are counted together
        each = left.ndim == 3 and not one_kernel
        enough = left.sum((0, 1) if each else None) >= usable.LEAST * size[0] * size[1]
        bands = np.broadcast_to(enough, len(usable.COLOURS))
        short = [name for name, good in zip(usable.COLOURS, bands, strict=True) if not good]
        remarks += usable.clipping_remarks(first, second, ends, limits, short=short)
        weights = np.where(enough, left, weights)
    if not weights.any():
        raise ValueError(
            f"no output is left to learn from: every value of {after} is missing, masked or beyond "
            f"a limit, or needs one of {before} that is"
        )
    return Pair(
        before=x,
        after=pixels,
        kernel_size=size,
        name=before.stem,
        remarks=remarks,
        weights=None if weights.all() else weights,
        levels=(first.white, second.white),
        steps=(first.step, second.step),
        ends=ends,
    )


def _photo(photo: str) -> tuple[np.ndarray, int, list[str]]:
    """The photograph, the level of its white, and remarks."""
    if photo not in images.SAMPLES and (Path(photo).suffix or Path(photo).exists()):
        pixels, remarks = images.read(photo)
        return pixels, usable.read(Path(photo)).white, remarks
    return images.sample(photo), 255, []  # of a name that is not known this raises


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
