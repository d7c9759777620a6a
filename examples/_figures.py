"""Saving the figures of the examples."""

import sys
from pathlib import Path

from matplotlib.figure import Figure


def save(figure: Figure, name: str) -> None:
    """Write a figure to the folder given on the command line, by default `examples/figures`."""
    given = sys.argv[1:] if Path(sys.argv[0]).suffix == ".py" else []  # not a notebook's arguments
    folder = Path(given[0]) if given else Path(__file__).parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png")
    print(f"figure: {name}.png")
