"""Which values of two images `jaxconv learn` uses: masks, NaN, and clipped values."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxconv._files import images, stored
from jaxconv._files.rasters import ImageError, opaque

MANY = 1e-3  # of all values, at one end of the range
LEAST = 10  # outputs for each weight of the kernel, that must be left without clipped values
COLOURS = ("red", "green", "blue")
PILED = 10, 3, 4  # so many values, and so many times more than at each of the next levels


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The option `--saturated`: stored values at or beyond a limit are left out.

    Attributes:
        low: the lower limit, None where it is not given.
        high: the upper limit.
        none: whether clipped values are used, too.
    """

    low: float | None = None
    high: float | None = None
    none: bool = False


def parse_limits(text: str | None) -> Limits:
    """Read `255`, `0:4095`, `0:`, `:4095` or `none`."""
    if text is None:
        return Limits()
    if text.strip().lower() == "none":
        return Limits(none=True)
    low, colon, high = text.strip().rpartition(":")
    try:
        limits = Limits(low=float(low) if low else None, high=float(high) if high else None)
    except ValueError:
        limits = Limits()
    given = [limit for limit in (limits.low, limits.high) if limit is not None]
    if not given or not np.isfinite(given).all() or (not colon and limits.high is None):
        raise ValueError(
            f"--saturated must be a level, LOW:HIGH or none, such as 255 or 0:4095; got {text!r}"
        )
    if len(given) == 2 and given[0] >= given[1]:
        raise ValueError(f"--saturated LOW:HIGH must have LOW below HIGH; got {text!r}")
    return limits


@dataclass(frozen=True, kw_only=True)
class Reading:
    """An image, and which of its values are known.

    Attributes:
        path: of the file.
        pixels: (H, W) or (H, W, 3), intensities; the mean where they are missing.
        present: of the same shape: neither NaN nor infinite.
        levels: of the same shape, as stored.
        remarks: what differs from the file.
    """

    path: Path
    pixels: np.ndarray
    present: np.ndarray
    levels: np.ndarray
    remarks: list[str] = field(default_factory=list)

    @property
    def white(self) -> int:
        """The level of intensity 1; 1 for floating-point numbers."""
        return self.ends[1] if self.ends else 1

    @property
    def step(self) -> float:
        """The intensity of one level; 0 for floating-point numbers."""
        return 1 / self.white if self.ends else 0.0

    @property
    def ends(self) -> tuple[int, int] | None:
        """The ends of an unsigned type's range."""
        if self.levels.dtype.kind != "u":
            return None
        return 0, int(np.iinfo(self.levels.dtype).max)

    def within(self, limits: Limits) -> np.ndarray:
        """Whether each value is present and between the limits."""
        good = self.present.copy()
        if limits.low is not None:
            good &= self.levels > limits.low
        if limits.high is not None:
            good &= self.levels < limits.high
        return good


def read(path: Path) -> Reading:
    """Read an image file; values that are NaN or infinite are missing.

    Raises:
        ValueError: as `images.read`; or all values are missing.
        OSError: missing or not readable.
    """
    image, remarks = images.photograph(path)
    levels = image.colours
    present = np.ones(levels.shape, bool) if levels.dtype.kind != "f" else np.isfinite(levels)
    if not present.any():
        raise ImageError(f"{path}: all values are NaN or infinite")
    if not present.all():
        count = int(np.sum(~present))
        remarks.append(
            f"{path}: {count:,} of {present.size:,} values are NaN or infinite; they are left out"
        )
        levels = np.where(present, levels, levels[present].mean(dtype=np.float64))
        levels = levels.astype(image.colours.dtype)
    pixels = images.as_float(levels, path)
    if image.alpha is not None:
        if np.any(image.alpha != opaque(image.alpha.dtype)):
            raise ImageError(
                f"{path}: has transparent pixels; flatten it onto a background first, or leave "
                "them out by --mask"
            )
        remarks.append(f"{path}: dropped its alpha channel, which is opaque everywhere")
    return Reading(path=path, pixels=pixels, present=present, levels=levels, remarks=remarks)


def read_mask(option: str, path: Path, name: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read a mask for an image: True where it is not 0.

    Args:
        option: that gave it, for messages.
        path: of the mask: grey, or colour for a colour image.
        name: of the image that it is for.
        shape: of that image.

    Raises:
        ValueError: another size, or colours for a grey image.
    """
    levels = stored.load(path).colours
    used = (levels != 0) & ~np.isnan(levels) if levels.dtype.kind == "f" else levels != 0
    if used.ndim == 3 and len(shape) == 2:
        used = used.any(-1)
    if used.shape[:2] != shape[:2]:
        own, other = ("x".join(map(str, size[:2])) for size in (used.shape, shape))
        raise ValueError(f"{option} {path} is {own}, but {name} is {other}; give one of its size")
    return np.broadcast_to(used[..., None] if used.ndim < len(shape) else used, shape)


@dataclass(frozen=True, kw_only=True)
class Ends:
    """How many values of an image are at the ends of its type's range.

    Attributes:
        levels: the two ends.
        counts: the number of values at each.
        many: whether these are so many that they must be clipped.
        total: number of values.
    """

    levels: tuple[int, int]
    counts: tuple[int, int]
    many: tuple[bool, bool]
    total: int

    @property
    def option(self) -> str:
        """The value of `--saturated` that leaves out the ends with many values."""
        low, high = (str(n) if many else "" for n, many in zip(self.levels, self.many, strict=True))
        return f"{low}:{high}" if low else high

    def told(self, *, only_many: bool) -> str:
        """Such as `120 of 4,000 values are 0 and 31 are 255`."""
        each = [
            (count, level)
            for count, level, many in zip(self.counts, self.levels, self.many, strict=True)
            if (many if only_many else count)
        ]
        first = f"{each[0][0]:,} of {self.total:,} values are {each[0][1]:,}"
        return " and ".join([first, *(f"{count:,} are {level:,}" for count, level in each[1:])])


def count_ends(image: Reading) -> Ends | None:
    """Count the values at the ends of the range of an unsigned type; None for other types.

    Clipping piles up at an end what would lie beyond it. So values at an end are many if they are
    more than 0.1 % of all, or at least ten and more than three times as many as at each of the four
    levels next to it, whose counts a smooth histogram would continue. Colours clip apart, so that
    those of one are enough.
    """
    if image.ends is None:
        return None
    levels, bins = image.levels, image.ends[1] + 1
    colours = np.moveaxis(levels, -1, 0) if levels.ndim == 3 else levels[None]
    bands = [np.bincount(band.ravel(), minlength=bins) for band in colours]
    low, high = (
        (sum(int(c[0]) for c in each), any(_many(c, int(c.sum())) for c in each))
        for each in (bands, [c[::-1] for c in bands])
    )
    return Ends(
        levels=image.ends, counts=(low[0], high[0]), many=(low[1], high[1]), total=levels.size
    )


def _many(counts: np.ndarray, total: int) -> bool:
    """Whether the first of these counts of levels is that of clipped values."""
    return bool(counts[0] > MANY * total) or _piled(counts)


def _piled(counts: np.ndarray) -> bool:
    least, times, levels = PILED
    return bool(counts[0] >= least and counts[0] > times * counts[1 : levels + 1].max(initial=0))


def own_limits(image: Reading) -> list[tuple[float, int]]:
    """The largest and the smallest value, with its count, where so many are equal to it.

    That is a sign of a limit inside the type's range, such as 4095 of a sensor with 12 bits.
    """
    values = image.levels[image.present]
    if values.dtype == bool or values.min() == values.max():
        return []
    found = []
    for sign in (1, -1):
        extreme = values.max() if sign > 0 else values.min()
        if image.ends and int(extreme) in image.ends:
            continue
        count = int(np.sum(values == extreme))
        if image.ends:
            near = [int(np.sum(values == int(extreme) - sign * n)) for n in range(PILED[2] + 1)]
            piled = _piled(np.array(near))
        else:
            piled = count >= PILED[0] and count > MANY * values.size
        if piled:
            found.append((float(extreme), count))
    return found


def clipped(image: Reading, ends: Ends | None, limits: Limits) -> np.ndarray:
    """Which values are at an end of the range where many are, and no limit was given."""
    found = np.zeros(image.levels.shape, bool)
    if ends is None:
        return found
    for level, many, limit in zip(ends.levels, ends.many, (limits.low, limits.high), strict=True):
        if many and limit is None:
            found |= image.levels == level
    return found


def clipping_remarks(
    before: Reading, after: Reading, ends: Ends | None, limits: Limits, *, short: list[str]
) -> list[str]:
    """Say what is clipped, and what was done about it.

    Args:
        before: as it was read.
        after: likewise.
        ends: of after.
        limits: the option `--saturated`.
        short: the colours (`COLOURS`) of which too few values would remain: theirs are used.
    """
    remarks = []
    done = "they are left out as clipped (--saturated none uses them)"
    if len(short) in (1, 2) and after.levels.ndim == 3:
        done += (
            f"; in {' and '.join(short)} too few others would remain to learn from, so that they "
            "are used there"
        )
    elif short:
        done = "too few others would remain to learn from, so they are used"
    if ends is not None and clipped(after, ends, limits).any():
        remarks.append(
            f"{after.path}: {ends.told(only_many=True)}, at the ends of {after.levels.dtype}'s "
            f"range; {done}"
        )
    if limits.low is None and limits.high is None:
        for level, count in own_limits(after):
            largest = level == after.levels[after.present].max()
            option = f"{level:g}" if largest else f"{level:g}:"
            remarks.append(
                f"{after.path}: {count:,} of {after.levels.size:,} values are {level:g}, its "
                f"{'largest' if largest else 'smallest'}; if they are clipped, leave them out by "
                f"--saturated {option}"
            )
        own = count_ends(before)
        if own is not None and any(own.many):
            remarks.append(
                f"{before.path}: {own.told(only_many=True)}, at the ends of "
                f"{before.levels.dtype}'s range; they are used, which is right if {after.path} was "
                f"computed from this file; if both were recorded, leave them out by --saturated "
                f"{own.option}"
            )
    return remarks
