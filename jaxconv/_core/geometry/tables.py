"""Tables of convolutions, as text."""

from collections.abc import Mapping, Sequence

from jaxconv._core.geometry.spec import ConvSpec


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as text, each column as wide as its widest cell.

    Example:
        >>> print(aligned([("method", "ms"), ("taps", "0.5")]))
        method  ms
        taps    0.5
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def geometry(spec: ConvSpec) -> str:
    """Return the arguments that differ from the defaults of `conv`.

    Example:
        >>> geometry(ConvSpec((2,), (1,), ((1, 1),), 1, (8,), (3,)))
        'stride=(2,) padding=((1, 1),)'
    """
    parts = []
    if max(spec.stride) > 1:
        parts.append(f"stride={spec.stride}")
    if max(spec.dilation) > 1:
        parts.append(f"dilation={spec.dilation}")
    if any(any(pair) for pair in spec.padding):
        parts.append(f"padding={spec.padding}")
    if spec.groups > 1:
        parts.append(f"groups={spec.groups}")
    return " ".join(parts) or "plain"


def milliseconds(seconds: Mapping[str, float]) -> str:
    """Return the time of each method, the fastest first.

    Example:
        >>> milliseconds({"taps": 0.0123456, "lax": 0.001})
        'lax 1, taps 12.3'
    """
    ordered = sorted(seconds.items(), key=lambda item: item[1])
    return ", ".join(f"{name} {1e3 * taken:.3g}" for name, taken in ordered)
