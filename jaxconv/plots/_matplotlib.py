"""New figures. matplotlib is imported on first use, so that `jaxconv.plots` loads without it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(caller: str, width: float, height: float) -> "Figure":
    """Return an empty Figure; width and height are in inches.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"{caller}: matplotlib is not installed: pip install 'jaxconv[cli]'"
        ) from error
    return Figure(figsize=(width, height), dpi=120, layout="constrained")
