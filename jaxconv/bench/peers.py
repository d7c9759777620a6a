"""Who is measured beside this package, whether they are here, and the cores that all may use."""

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OURS = "jaxconv"
# peer -> the module that has to be importable, and what installs it
PEERS: Mapping[str, tuple[str, str]] = {
    "lax": ("jax", "jax"),
    "torch": ("torch", "torch"),
    "torch.compile": ("torch", "torch"),
    "scipy": ("scipy", "scipy"),
    "opencv": ("cv2", "opencv-python-headless"),
}


@dataclass(frozen=True, kw_only=True)
class Program:
    """One case, ready to run in one way: arrays are in place, nothing is compiled yet.

    Attributes:
        peer: whose it is.
        label: which of the peer's ways.
        function: what to call with `arguments`.
        arguments: arrays in the peer's own layout, on the peer's device.
        values: turns what the call returns into float arrays in our layout, by name.
        compiled: whether `function` is for `jax.jit`; then the call is compiled ahead, the time
            that takes and the memory it needs are recorded, and its results are waited for.
    """

    peer: str
    label: str
    function: Callable[..., Any]
    arguments: Sequence[Any]
    values: Callable[[Any], dict[str, np.ndarray]]
    compiled: bool = False


def present(wanted: Sequence[str] | None = None) -> tuple[list[str], dict[str, str]]:
    """Return the peers that can be imported, and for each other one a line that says so.

    Raises:
        ValueError: there is no peer of that name.
    """
    names = list(PEERS if wanted is None else wanted)
    for name in names:
        if name not in PEERS:
            raise ValueError(f"no peer is called {name!r}; known: {', '.join(PEERS)}")
    missing = {
        name: f"{name} is left out: pip install {PEERS[name][1]}"
        for name in names
        if importlib.util.find_spec(PEERS[name][0]) is None
    }
    return [name for name in names if name not in missing], missing


def cores() -> int:
    """The CPUs this process may use, which is what XLA's own threads count."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(peers: Sequence[str]) -> dict[str, int]:
    """Give every peer as many threads as XLA has; return what each says it has."""
    threads = {"xla": cores()}
    if "torch" in peers:
        import torch

        torch.set_num_threads(cores())
        threads["torch"] = torch.get_num_threads()
    if "opencv" in peers:
        cv2: Any = importlib.import_module("cv2")
        cv2.setNumThreads(cores())
        threads["opencv"] = cv2.getNumThreads()
    if "scipy" in peers:
        threads["scipy"] = cores()  # by scipy.fft.set_workers around each call
    return threads
