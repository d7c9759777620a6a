"""The device that is measured: its facts, its memory, and whether peers run on it too."""

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import backend


def share_memory() -> None:
    """Let JAX take a GPU's memory as it needs it, so that torch has some too.

    To be called before JAX's first array; a value that is set stays.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def asynchronous() -> bool:
    """Whether calls return before they have run, one after the other, as on GPUs and TPUs."""
    return jax.default_backend() != "cpu"


def torch_device() -> str:
    """Where torch's tensors belong: "cuda" if JAX's device is a GPU that torch sees too."""
    if jax.default_backend() != "gpu":
        return "cpu"
    return "cuda" if _torch_may_see_a_gpu() else "cpu"


def why_not_here(peer: str) -> str | None:
    """Return why a peer cannot be measured on JAX's device, once installed; None if it can."""
    platform = jax.default_backend()
    if peer == "causal-conv1d":
        seen = platform == "gpu" and _torch_may_see_a_gpu()
        return None if seen else "it runs on GPUs that torch sees"
    if platform == "cpu" or peer in ("lax", "float32"):
        return None
    if peer in ("torch", "torch.compile"):
        if platform != "gpu":
            return f"it is not measured on a {platform}, and on a CPU it is no peer for one"
        unseen = "it sees no GPU, and on a CPU it is no peer for one"
        return None if _torch_may_see_a_gpu() else unseen
    return f"it runs on CPUs, and is no peer for a {platform}"


def _torch_may_see_a_gpu() -> bool:
    """Whether torch sees a GPU; one that is not installed may."""
    if importlib.util.find_spec("torch") is None:
        return True
    torch: Any = importlib.import_module("torch")
    return torch.cuda.is_available()


@contextlib.contextmanager
def on_the_host() -> Iterator[None]:
    """Compute on a CPU, where float64 is at home; on the default device if JAX has no CPU."""
    try:
        host = jax.devices("cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves it out
        yield
        return
    with jax.default_device(host):
        yield


def facts(torch: bool = False) -> dict[str, Any]:
    """Return what JAX tells of its devices, and torch of the same: ready for JSON.

    Args:
        torch: whether torch is measured too.
    """
    device: Any = jax.local_devices()[0]
    version = str(getattr(backend.get_backend(), "platform_version", ""))
    found: dict[str, Any] = {
        "platform": jax.default_backend(),
        "device_kind": device.device_kind,
        "devices": jax.device_count(),
        "runtime": " ".join(version.split()),
    }
    capability = getattr(device, "compute_capability", None)
    limit = (memory(device) or {}).get("bytes_limit")
    found |= {"compute_capability": capability} if capability else {}
    found |= {"memory_bytes": limit} if limit else {}
    if torch and torch_device() == "cuda":
        module: Any = importlib.import_module("torch")
        found["torch"] = {
            "device": module.cuda.get_device_name(),
            "cuda": module.version.cuda,
            "cudnn": module.backends.cudnn.version(),
        }
    return found


def memory(device: Any) -> dict[str, int] | None:
    """Return a device's memory statistics, None where it keeps none (CPUs)."""
    try:
        return device.memory_stats()
    except (jax.errors.JaxRuntimeError, NotImplementedError):  # JAX's ways to say that it has none
        return None


def with_peak(call: Callable[[], Any], *, on_cuda: bool = False) -> tuple[Any, int | None]:
    """Call; return the result and the bytes that the device held at most beyond those before.

    JAX's largest number is that of the whole process and never reset: None if this call did not
    raise it, and on CPUs.

    Args:
        call: must wait for its results.
        on_cuda: whether it is a call of torch, whose number can be reset.
    """
    if on_cuda:
        cuda: Any = importlib.import_module("torch").cuda
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        result = call()
        return result, cuda.max_memory_allocated() - before
    device = jax.local_devices()[0]
    earlier = memory(device)
    result = call()
    later = memory(device)
    if not earlier or not later or "peak_bytes_in_use" not in later:
        return result, None
    raised = later["peak_bytes_in_use"] > earlier["peak_bytes_in_use"]
    return result, later["peak_bytes_in_use"] - earlier["bytes_in_use"] if raised else None
