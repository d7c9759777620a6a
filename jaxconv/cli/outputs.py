"""The file that `apply` and `restore` write: its name, what it replaces, what is told of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxconv._files import formats
from jaxconv._files.rasters import Source
from jaxconv._files.stored import Stored, save
from jaxconv.cli.errors import CommandError


def named_output(image: Path, output: Path | None, ending: str) -> Path:
    """The file to write: given, or beside the image."""
    if output is not None:
        return output
    if not image.suffix:
        raise CommandError(f"{image} has no suffix to write another by; name the OUTPUT too")
    return image.with_name(f"{image.stem}-{ending}{image.suffix}")


def check_output(
    image: Path, output: Path, *, overwrite: bool, beside: Sequence[Path] = (), more: str = ""
) -> None:
    """Refuse to write over the image, or over a file without being told to.

    Args:
        image: that is read.
        output: to write.
        overwrite: whether it may be replaced.
        beside: other files that would be.
        more: another way out, for the message.
    """
    if output.exists() and output.samefile(image):
        raise CommandError(f"{output} is the image itself; name another file")
    there = None if overwrite else next((p for p in (output, *beside) if p.exists()), None)
    if there is not None:
        raise CommandError(f"{there} exists; --overwrite replaces it{more}, or name another file")


def check_at_least(least: int, **options: int | None) -> None:
    """Refuse numbers that are given and too small, by the names of their options."""
    for option, number in options.items():
        if number is not None and number < least:
            raise CommandError(f"--{option} must be {least} or more, got {number}")


def store(target: Stored, output: Path, temporary: Path) -> None:
    """Write an image under a temporary name; a zarr's folder, which none replaces, makes room."""
    save(temporary, target)
    if output.is_dir():
        formats.remove(output)


def described(shape: tuple[int, ...], axes: str, dtype: str) -> str:
    """The size of the result, grey or colour, and its type; the axes where there are more."""
    stack = len(axes) - 2 - axes.endswith(("S", "C"))
    if axes[stack : stack + 2] != "YX":
        return f"{'x'.join(map(str, shape))} ({axes}) {dtype}"
    samples = len(axes) - stack == 3
    colours = {1: "grey", 3: "colour"}.get(shape[-1] if samples else 1, f"{shape[-1]} channels")
    size = "x".join(map(str, shape[: stack + 2])) + (f" ({axes[: stack + 2]})" if stack else "")
    return f"{size} {colours} {dtype}" if samples or not stack else f"{size} {dtype}"


def remarks(source: Source, output: Path) -> list[str]:
    """What was kept of the file besides its colours, and what was not as in the file."""
    found = []
    zarr = output.suffix.lower() == ".zarr"
    if getattr(source, "profile", None) is not None:
        found.append("colour profile left out" if zarr else "colour profile kept")
    tags: Any = getattr(source, "tags", None)
    if getattr(source, "alpha", None) is not None and (tags is None or tags.alpha is not None):
        found.append("alpha kept as it was")
    if tags is not None and tags.no_data is not None:
        found.append(f"no-data value {tags.no_data} filtered like others")
    if tags is not None and output.suffix.lower() in formats.TIFF:
        found += compression(tags, source.dtype)
    if source.dtype == "float64":
        found.append("computed in float32")
    return found + list(getattr(source, "remarks", []))


def compression(tags: Any, dtype: str) -> list[str]:
    """A remark where the source's compression is not the target's."""
    from jaxconv._files.tiff_tags import kept_compression

    used = kept_compression(tags, dtype).get("compression", 1)
    return [] if used == tags.compression else ["compressed by zlib"]
