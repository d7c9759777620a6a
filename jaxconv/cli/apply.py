"""`jaxconv apply`: an image and a kernel to the filtered image, in the image's own type."""

from dataclasses import dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxconv import filters
from jaxconv._core.dispatch.choose import check_method
from jaxconv._core.dispatch.seamless import choose, problem_of
from jaxconv._core.geometry.spec import normalise
from jaxconv._files import images, stored
from jaxconv._functional.planes import correlate
from jaxconv.cli.problem import Problem, told_as_problem
from jaxconv.cli.results import write_results

SCALES = ("clip", "signed", "stretch", "none")
MODES = ("symmetric", "reflect", "replicate", "circular", "zeros")


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What to filter with.

    Attributes:
        planes: (1, h, w), one for all colours, or (3, h, w).
        bias: (1,) or (3,), added to the intensities.
        name: for the message and the output's name.
        named: whether it is one of `jaxconv.filters`, not from a file.
    """

    planes: np.ndarray
    bias: np.ndarray
    name: str
    named: bool


def run(
    image: Path,
    output: Path | None,
    *,
    kernel: str,
    scale: str | None,
    mode: str,
    cut: bool,
    method: str,
) -> str:
    """Filter an image file; return the line that says what was done."""
    check_options(scale, mode)
    with told_as_problem():
        weights = read_kernel(kernel)
        source = stored.load(image)
        if output is None:
            output = image.with_name(f"{image.stem}-{weights.name}{image.suffix}")
        stored.check_holds(output, source)
        if output.exists() and output.samefile(image):
            raise Problem(f"{output} is the image itself; name another file")
        x = images.as_float(source.colours, image)
        y = filtered(x, weights, mode=mode, cut=cut, method=check_method("apply", method))
        scale = chosen_scale(scale, weights, floating=source.colours.dtype.kind == "f")
        y, told = scaled(y, weights, scale)
        alpha = source.alpha
        if alpha is not None and cut:
            top, left = ((n - 1) // 2 for n in weights.planes.shape[1:])
            alpha = alpha[top : top + y.shape[0], left : left + y.shape[1]]
        colours = _as_stored(y, source.colours.dtype, output)
        result = replace(source, colours=colours, alpha=alpha)
        # the suffix decides the format, so that the file's name has to be the last one already
        write_results(output.parent, {output.name: lambda path: stored.save(path, result)})
    h, w = weights.planes.shape[1:]
    parts = [
        f"{'x'.join(map(str, y.shape[:2]))} {'colour' if y.ndim == 3 else 'grey'} {colours.dtype}",
        f"{weights.name} ({h}x{w}), {'cut' if cut else mode}",
        told,
        *_kept(source),
        *source.remarks,
    ]
    return f"wrote {output}: {'; '.join(parts)}"


def _as_stored(y: np.ndarray, dtype: np.dtype, output: Path) -> np.ndarray:
    with np.errstate(over="ignore"):
        colours = images.as_stored(y, dtype)
    if dtype.kind == "f" and (beyond := int(np.sum(~np.isfinite(colours)))):
        raise Problem(
            f"{output}: {beyond} of {colours.size} values are beyond the largest of {dtype}; scale "
            f"the image down, or save it in a wider type"
        )
    return colours


def check_options(scale: str | None, mode: str) -> None:
    """Refuse a scale or a padding mode that there is none of."""
    for option, value, known in (("--scale", scale, SCALES), ("--padding-mode", mode, MODES)):
        if value is not None and value not in known:
            raise Problem(f"{option} must be one of {', '.join(known)}; got {value!r}")


def chosen_scale(scale: str | None, kernel: Kernel, *, floating: bool) -> str:
    """The scale asked for, or the one that fits the image and the kernel."""
    if scale is None:
        negative = kernel.named and bool((kernel.planes < 0).any())
        scale = "none" if floating else "signed" if negative else "clip"
    if scale == "none" and not floating:
        raise Problem("--scale none is for floating-point images; clip is the nearest to it")
    return scale


def read_kernel(kernel: str) -> Kernel:
    """Read a kernel by name, or from what `jaxconv learn` wrote.

    Args:
        kernel: one of `filters.NAMES`, a .npy file, a .csv file with its biases, or the folder of
            the results, whose kernel.csv is read.

    Raises:
        ValueError: neither, or a file of another content.
    """
    path = Path(kernel)
    if kernel in filters.NAMES:
        return Kernel(
            planes=filters.by_name(kernel)[None], bias=np.zeros(1), name=kernel, named=True
        )
    if not kernel or not path.exists():
        raise ValueError(
            f"no kernel is called {kernel!r}, and no such file is there; known: "
            f"{', '.join(filters.NAMES)}; or a .npy or .csv file that jaxconv learn wrote"
        )
    if path.is_dir():
        if not (path / "kernel.csv").exists():
            raise ValueError(f"{path}: holds no kernel.csv; name a folder that jaxconv learn wrote")
        path = path / "kernel.csv"
    bias: list[float] = []
    try:
        if path.suffix == ".npy":
            planes = _read_npy(path)
        else:
            planes, bias = _read_csv(_text(path))
        if np.iscomplexobj(planes):
            raise ValueError("its weights are complex")
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
            planes = np.asarray(planes, np.float32)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as a kernel ({error})") from error
    planes = planes[None] if planes.ndim == 2 else planes
    if planes.ndim != 3 or len(planes) not in (1, 3) or not planes.size:
        raise ValueError(
            f"{path}: holds an array of shape {planes.shape}; expected (h, w) or (3, h, w)"
        )
    if not np.isfinite(planes).all():
        raise ValueError(f"{path}: has weights that are NaN or infinite")
    return Kernel(
        planes=planes,
        bias=np.asarray(bias or np.zeros(len(planes)), np.float32),
        name=path.parent.name if Path(kernel).is_dir() else path.stem,
        named=False,
    )


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        # NumPy takes another file for a pickle, and advises to load it all the same
        if file.read(6) != b"\x93NUMPY":
            raise ValueError("it does not begin as a .npy file does")
    return np.load(path, allow_pickle=False)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is no text") from None


def _read_csv(text: str) -> tuple[np.ndarray, list[float]]:
    # as report.py writes it: "# colour, bias b", then the rows, once or three times
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


def filtered(
    x: np.ndarray, kernel: Kernel, *, mode: str, cut: bool, method: str = "auto"
) -> np.ndarray:
    """Correlate each colour with its kernel and add the bias, in float32.

    Args:
        x: (H, W) or (H, W, 3), intensities.
        kernel: three kernels want three colours.
        mode: how the image goes on outside, so that its size stays.
        cut: keep only where the kernel lies inside, (H - h + 1, W - w + 1).
        method: as in `jaxconv.tiles.apply_tiled`.

    Raises:
        ValueError: three kernels for a grey image, or a kernel larger than the image.
    """
    if x.ndim == 2 and len(kernel.planes) == 3:
        raise ValueError(f"{kernel.name} has a kernel for each colour, but the image is grey")
    h, w = kernel.planes.shape[1:]
    if h > x.shape[0] or w > x.shape[1]:
        raise ValueError(f"a {h}x{w} kernel is larger than the {x.shape[0]}x{x.shape[1]} image")
    planes = [x] if x.ndim == 2 else [x[..., n] for n in range(3)]
    done, size = [], "valid" if cut else "same"
    shape = (h, w, 1, 1)
    spec = normalise("apply", (*x.shape[:2], 1), shape, padding=size)
    # the method of `--tile`, so that the file is the same with it and without
    method = choose(problem_of(spec, mode, shape), method).method
    for n, plane in enumerate(planes):
        own = n if len(kernel.planes) == 3 else 0
        y = correlate(
            jnp.asarray(plane),
            jnp.asarray(kernel.planes[own], jnp.float32),
            mode=size,
            boundary=mode,
            method=method,
        )
        done.append(np.asarray(y) + np.float32(kernel.bias[own]))
    return done[0] if x.ndim == 2 else np.stack(done, axis=-1)


def scaled(y: np.ndarray, kernel: Kernel, scale: str) -> tuple[np.ndarray, str]:
    """Bring a response into the range 0 to 1 that integers can hold, and say how."""
    if scale == "none":
        return y, "values kept"
    if scale == "clip":
        outside = float(np.mean((y < 0) | (y > 1)))
        return np.clip(y, 0, 1), f"{outside:.1%} of the values clipped to 0..1"
    if scale == "signed":
        bound = largest_response(kernel)
        return 0.5 + y / np.float32(2 * bound), f"intensity = 0.5 + response / {2 * bound:g}"
    low, high = float(y.min()), float(y.max())
    span = high - low or 1.0
    return (y - low) / span, f"intensity = (response - {low:g}) / {span:g}"


def largest_response(kernel: Kernel) -> float:
    """The largest response that intensities from 0 to 1 can have, 1 where there is none."""
    positive, negative = (np.maximum(s * kernel.planes, 0).sum((1, 2)) for s in (1, -1))
    return float(np.max(np.maximum(positive, negative) + np.abs(kernel.bias))) or 1.0


def _kept(source: stored.Stored) -> list[str]:
    told = []
    if source.profile is not None:
        told.append("colour profile kept")
    if source.alpha is not None:
        told.append("alpha kept as it was")
    if source.colours.dtype == np.float64:
        told.append("computed in float32")
    return told
