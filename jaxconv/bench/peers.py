"""The peers measured beside this package: which are installed, and how many threads they use."""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxconv._core.machine import cores
from jaxconv.bench import devices

OURS = "jaxconv"
# peer -> the module to import, and the package that installs it; "float32" is our own, beside which
# bfloat16 is measured
PEERS: Mapping[str, tuple[str, str]] = {
    "lax": ("jax", "jax"),
    "torch": ("torch", "torch"),
    "torch.compile": ("torch", "torch"),
    "scipy": ("scipy", "scipy"),
    "opencv": ("cv2", "opencv-python-headless"),
    "float32": ("jax", "jax"),
    "causal-conv1d": ("causal_conv1d", "causal-conv1d"),
}


@dataclass(frozen=True, kw_only=True)
class Program:
    """One case in one layout of one peer: arrays are placed, nothing is compiled yet.

    Attributes:
        peer: a key of `PEERS`, or `OURS`.
        label: the peer and its layout.
        function: to be called with `arguments`.
        arguments: arrays in the peer's own layout, on the peer's device.
        values: converts the call's result to float arrays in our layout, by name.
        compiled: whether `function` is for `jax.jit`; then it is compiled ahead of time, its
            compile time and memory are recorded, and its results are waited for.
        on_cuda: whether it is torch's, on a GPU.
    """

    peer: str
    label: str
    function: Callable[..., Any]
    arguments: Sequence[Any]
    values: Callable[[Any], dict[str, np.ndarray]]
    compiled: bool = False
    on_cuda: bool = False

    @property
    def wait(self) -> Callable[[Any], Any] | None:
        """How to wait for results that are asked for and not there yet; None if there are none."""
        if not self.on_cuda:
            return None
        cuda: Any = importlib.import_module("torch").cuda

        def wait(results: Any) -> Any:
            cuda.synchronize()
            return results

        return wait


def present(wanted: Sequence[str] | None = None) -> tuple[list[str], dict[str, str]]:
    """Return the peers to measure, and by name a message for each one that cannot be.

    Args:
        wanted: names; by default all, on CPUs but the one for GPUs.

    Raises:
        ValueError: a name is unknown.
    """
    usual = [name for name in PEERS if name != "causal-conv1d" or devices.asynchronous()]
    names = list(usual if wanted is None else wanted)
    for name in names:
        if name not in PEERS:
            raise ValueError(f"peer {name!r} is unknown; known: {', '.join(PEERS)}")
    missing = {}
    for name in names:
        module, package = PEERS[name]
        if reason := devices.why_not_here(name):
            missing[name] = f"{name} is left out: {reason}"
        elif importlib.util.find_spec(module) is None:
            missing[name] = f"{name} is left out: pip install {package}"
    return [name for name in names if name not in missing], missing


def set_threads(peers: Sequence[str]) -> dict[str, int]:
    """Give every peer as many threads as XLA has; return the number that each reports."""
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
