"""What a TIFF says about its image besides the values, read from one and written into another.

| samples of a pixel | are |
|---|---|
| the first 3 of RGB, the first of grey | colours |
| further ones, by ExtraSamples: associated or unassociated alpha | alpha |
| unspecified, or without that tag | bands as the others (near infrared, ...) |
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

ALPHA = (int(tifffile.EXTRASAMPLE.ASSOCALPHA), int(tifffile.EXTRASAMPLE.UNASSALPHA))
_ZLIB = int(tifffile.COMPRESSION.ADOBE_DEFLATE)
# compressions that change no value: LZW, Deflate (two codes), PackBits, LZMA, Zstandard
_LOSSLESS = (5, _ZLIB, 32946, 32773, 34925, 50000)
# Texts, dates, positions, and what GeoTIFF and GDAL say; not what describes how values are stored.
_COPIED = (269, 270, 271, 272, 285, 286, 287, 305, 306, 315, 316, 33432, 33550, 33922, 34264)
_COPIED += (34735, 34736, 34737, 42112, 42113)
_DESCRIPTION, _GDAL_METADATA = 270, 42112
_PIXEL_SCALE, _TIEPOINTS, _TRANSFORMATION = 33550, 33922, 34264
_RATIONALS = (5, 10)  # data types of two numbers a value
_OME_TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]
_IMAGEJ_TYPES = ["uint8", "uint16", "int16", "float32"]
_IMAGEJ_KEPT = ("spacing", "unit", "finterval", "fps", "xorigin", "yorigin", "zorigin", "mode")
LARGEST_CLASSIC = 2**32 - 2**25  # bytes; above, the file is a BigTIFF


@dataclass(frozen=True, kw_only=True)
class TiffTags:
    """The tags of one image.

    Attributes:
        rgb: whether the first three samples are red, green and blue; else the first is grey.
        extras: the codes of ExtraSamples, one for each further sample.
        separate: whether the samples are stored plane after plane.
        compression: its code, 1 for none.
        predictor: its code, 1 for none.
        kind: "ome", "imagej", or "" where neither describes the axes.
        metadata: what OME or ImageJ say of sizes and channels, as tifffile writes it.
        resolution: pixels a unit along X and Y, and the code of the unit; or None.
        copied: code, data type, count and value of each tag that is copied.
    """

    rgb: bool
    extras: tuple[int, ...] = ()
    separate: bool = False
    compression: int = 1
    predictor: int = 1
    kind: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    resolution: tuple[float, float, int] | None = None
    copied: tuple[tuple[int, int, int, Any], ...] = ()

    @property
    def colours(self) -> list[int]:
        """The samples that are filtered."""
        base = 3 if self.rgb else 1
        extra = [base + n for n, code in enumerate(self.extras) if code not in ALPHA]
        return [*range(base), *extra]

    @property
    def alpha(self) -> int | None:
        """The sample that is alpha, or None."""
        base = 3 if self.rgb else 1
        return next((base + n for n, code in enumerate(self.extras) if code in ALPHA), None)

    @property
    def premultiplied(self) -> bool:
        """Whether the colours are multiplied by alpha."""
        return ALPHA[0] in self.extras

    @property
    def no_data(self) -> str | None:
        """The value that GDAL's tag declares to be no data."""
        return next((str(tag[3]).strip("\0 ") for tag in self.copied if tag[0] == 42113), None)

    def moved(self, top: int, left: int) -> "TiffTags":
        """Return the tags of an image without its first rows and columns, at the same place."""
        return self._placed(np.array([left, top]), np.ones(2))

    def scaled(self, down: float, across: float) -> "TiffTags":
        """Return the tags of an image that has so many times fewer rows and columns."""
        found = self._placed(np.zeros(2), np.array([across, down]))
        metadata = dict(self.metadata)
        for name, factor in (("PhysicalSizeX", across), ("PhysicalSizeY", down)):
            if name in metadata:
                metadata[name] *= factor
        resolution = self.resolution and (
            self.resolution[0] / across,
            self.resolution[1] / down,
            self.resolution[2],
        )
        return replace(found, metadata=metadata, resolution=resolution)

    def _placed(self, begin: np.ndarray, step: np.ndarray) -> "TiffTags":
        """Georeferences of an image whose pixel (x, y) is begin + step * (x, y) of this one."""
        copied = []
        for code, kind, count, value in self.copied:
            if code == _PIXEL_SCALE:
                value = tuple((np.array(value) * [*step, 1]).tolist())
            elif code == _TIEPOINTS:  # i, j, k, x, y, z of each point
                points = np.reshape(value, (-1, 6)).astype(float)
                points[:, :2] = (points[:, :2] - begin) / step
                value = tuple(points.ravel().tolist())
            elif code == _TRANSFORMATION:
                matrix = np.reshape(value, (4, 4)).astype(float)
                matrix[:, 3] += matrix[:, :2] @ begin
                matrix[:, :2] *= step
                value = tuple(matrix.ravel().tolist())
            copied.append((code, kind, count, value))
        return replace(self, copied=tuple(copied))


def read_tags(tiff: tifffile.TiffFile, series: int, page: Any) -> TiffTags:
    """Return the tags of one image of a file.

    Args:
        tiff: the file.
        series: number of the image in it.
        page: its first page.

    Raises:
        ValueError: samples that do not add up.
    """
    rgb = page.photometric == tifffile.PHOTOMETRIC.RGB
    count = page.samplesperpixel - (3 if rgb else 1)
    if count < 0:
        raise ValueError(f"{page.samplesperpixel} samples are too few for RGB")
    named = tuple(map(int, page.extrasamples))
    extras = (*named, *(0,) * count)[:count]
    kind, metadata = "", {}
    if tiff.is_ome:
        kind, metadata = "ome", _ome(tiff.ome_metadata or "", series)
    elif tiff.is_imagej:
        kind, found = "imagej", tiff.imagej_metadata or {}
        metadata = {name: found[name] for name in _IMAGEJ_KEPT if name in found}
    tags = {tag.code: tag for tag in page.tags}
    structured = kind or tiff.is_shaped
    copied = tuple(
        _copy(tags[code])
        for code in _COPIED
        if code in tags and not (code == _DESCRIPTION and structured)
    )
    if structured:  # by tifffile, in most files: not a fact about the image
        copied = tuple(tag for tag in copied if tag[0] != 305)
    resolution = None
    if 282 in tags and 283 in tags:
        across, down = (_ratio(tags[code].value) for code in (282, 283))
        resolution = (across, down, int(tags[296].value) if 296 in tags else 2)
    return TiffTags(
        rgb=rgb,
        extras=extras,
        separate=page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1,
        compression=int(page.compression),
        predictor=int(page.predictor),
        kind=kind,
        metadata=metadata,
        resolution=resolution,
        copied=copied,
    )


def _copy(tag: Any) -> tuple[int, int, int, Any]:
    value, count, kind = tag.value, tag.count, int(tag.dtype)
    if tag.code == _GDAL_METADATA:  # statistics of the values before
        value = re.sub(r"\s*<Item name=\"STATISTICS_[^>]*>[^<]*</Item>", "", str(value))
    if isinstance(value, str):
        # ASCII; what is beyond it is written as the bytes of UTF-8
        value, count = value if value.isascii() else value.encode(), 0
    elif kind in _RATIONALS and count == 1:
        value = tuple(value)
    return tag.code, kind, count, value


def _ratio(value: Any) -> float:
    return value[0] / value[1] if value[1] else 0.0


def _ome(text: str, series: int) -> dict[str, Any]:
    """Sizes of pixels and names of channels from OME-XML."""
    try:
        images = [e for e in ElementTree.fromstring(text).iter() if e.tag.endswith("}Image")]
    except ElementTree.ParseError:
        return {}
    if series >= len(images):
        return {}
    found: dict[str, Any] = {}
    if name := images[series].get("Name"):
        found["Name"] = name
    for pixels in (e for e in images[series] if e.tag.endswith("}Pixels")):
        for size in ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ", "TimeIncrement"):
            if size in pixels.attrib:
                found[size] = float(pixels.attrib[size])
                if f"{size}Unit" in pixels.attrib:
                    found[f"{size}Unit"] = pixels.attrib[f"{size}Unit"]
        names = [e.get("Name") for e in pixels if e.tag.endswith("}Channel")]
        if all(names) and names:
            found["Channel"] = {"Name": names}
    return found


def with_alpha(colours: np.ndarray, alpha: np.ndarray | None, tags: TiffTags | None) -> np.ndarray:
    """Return the samples of pixels as a file has them: alpha where the tags say, else last."""
    if alpha is None:
        return colours
    values = colours if colours.ndim > alpha.ndim else colours[..., None]
    place = None if tags is None else tags.alpha
    place = values.shape[-1] if place is None else place
    return np.concatenate([values[..., :place], alpha[..., None], values[..., place:]], -1)


def write_options(
    shape: Sequence[int],
    axes: str,
    dtype: str,
    *,
    tags: TiffTags | None,
    alpha: bool = False,
    profile: bytes | None = None,
) -> dict[str, Any]:
    """Return the arguments of `tifffile.imwrite` that describe an image as its source was.

    Args:
        shape: of the file, alpha included.
        axes: its letters; S last for samples. "" for one grey plane.
        dtype: by name.
        tags: of the source, where it was a TIFF.
        alpha: whether the last sample is alpha, where the source was no TIFF.
        profile: ICC.
    """
    samples = shape[-1] if axes.endswith("S") else 1
    if tags is not None and len(tags.extras) + (3 if tags.rgb else 1) == samples:
        rgb, extras, separate = tags.rgb, tags.extras, tags.separate
    else:
        rgb, separate = samples - alpha == 3, False
        extras = (0,) * (samples - (3 if rgb else 1) - alpha) + (2,) * alpha
    options: dict[str, Any] = {
        "photometric": "rgb" if rgb else "minisblack",
        "planarconfig": None if samples == 1 else "separate" if separate else "contig",
        "extrasamples": extras or None,
        "iccprofile": profile,
        "software": False,
        "metadata": None,
    }
    leading = axes[: -3 if axes.endswith("S") else -2]
    kind = tags.kind if tags is not None else ""
    described = {"axes": axes}
    if kind == "imagej" and _imagej_holds(shape, axes, dtype, extras):
        options |= {"imagej": True, "metadata": described | tags.metadata}  # pyright: ignore
    elif kind == "ome" and dtype in _OME_TYPES and not separate:
        metadata = dict(tags.metadata)  # pyright: ignore
        names = metadata.get("Channel", {}).get("Name", [])
        if len(names) != (shape[axes.index("C")] if "C" in axes else 1):
            metadata.pop("Channel", None)
        options |= {"ome": True, "metadata": described | metadata}
    elif leading and not set(leading) & {"Q", "I"}:
        options["metadata"] = described  # as JSON, by tifffile
    if tags is not None:
        copied = [tag for tag in tags.copied if tag[0] != _DESCRIPTION]
        options["extratags"] = [(*tag, True) for tag in copied]
        text = [tag[3] for tag in tags.copied if tag[0] == _DESCRIPTION]
        if text and kind == "":
            options["description"] = text[0]
        if tags.resolution is not None:
            options |= {"resolution": tags.resolution[:2], "resolutionunit": tags.resolution[2]}
    return options


def _imagej_holds(shape: Sequence[int], axes: str, dtype: str, extras: Sequence[int]) -> bool:
    order = [letter for letter in "TZCYXS" if letter in axes]
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    right = "".join(order) == axes and not extras and size < LARGEST_CLASSIC
    return right and (dtype == "uint8" if axes.endswith("S") else dtype in _IMAGEJ_TYPES)


def kept_compression(tags: TiffTags | None, dtype: str) -> dict[str, Any]:
    """Return the compression for `tifffile.imwrite`: the source's if it changes no value.

    zlib where the source's does, or where its codec is not here.
    """
    if tags is None or tags.compression == tifffile.COMPRESSION.NONE:
        return {}
    code = tags.compression if tags.compression in _LOSSLESS else _ZLIB
    predictor = tags.predictor
    fits = {2: np.dtype(dtype).kind in "iu", 3: np.dtype(dtype).kind == "f"}
    try:  # some codecs are listed without their library
        tifffile.TIFF.COMPRESSORS[code](bytes(16))  # pyright: ignore
    except Exception:  # every codec raises errors of its own
        code = _ZLIB
    try:
        tifffile.TIFF.PREDICTORS[predictor]  # pyright: ignore
    except KeyError:
        predictor = 1
    found: dict[str, Any] = {"compression": code}
    if fits.get(predictor):
        found["predictor"] = predictor
    return found
