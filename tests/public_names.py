"""What is public, found by reflection, and which of it is not called with JAX's arrays, and why.

A new function fails a test until `public_calls` has a call of it, or it is here.
"""

import importlib
import inspect
import pkgutil

from flax import linen, nnx

import jaxconv

# Modules whose functions people call with arrays.
MODULES = {
    name: importlib.import_module(name)
    for name in (
        *("jaxconv", "jaxconv.compat.cv2", "jaxconv.compat.lax", "jaxconv.compat.onnx"),
        "jaxconv.compat.torch",
        *("jaxconv.compat.scipy.ndimage", "jaxconv.compat.scipy.signal"),
        *("jaxconv.analysis", "jaxconv.analysis.dense", "jaxconv.linen", "jaxconv.nnx"),
        *("jaxconv.learn", "jaxconv.learn.constraints", "jaxconv.learn.losses"),
        *("jaxconv.parallel", "jaxconv.restore", "jaxconv.restore.penalties", "jaxconv.varying"),
    )
}
# reason -> public rooms without such functions
ROOMS_APART = {
    "kernels and definitions in NumPy": {"filters", "psf", "reference"},
    "files, and NumPy's arrays in parts": {"tiles"},
    "pictures of NumPy's arrays": {"plots"},
    "measurements": {"bench"},
    "the command line": {"cli"},
}
OTHER_ROOMS = {room for rooms in ROOMS_APART.values() for room in rooms}
# reason -> functions that return no array of JAX's, or cannot be traced
APART = {
    "returns integers": {
        *("explicit_padding", "input_size", "output_size", "receptive_field"),
        *("analysis.parameter_counts", "analysis.receptive_field"),
        *("parallel.halo_bytes", "parallel.permuted_bytes"),
    },
    "takes any step of a training loop, or reads a folder": {
        *("learn.kept_steps", "learn.program_digest", "learn.run_segments"),
    },
    "returns a choice, a report or a policy": {
        *("explain", "tune", "compat.scipy.signal.choose_conv_method"),
    },
    "returns weights of torch's, or takes them": {
        *("compat.torch.from_torch", "compat.torch.to_torch"),
    },
    "returns a kernel of NumPy's": {
        f"compat.cv2.get{name}" for name in ("DerivKernels", "GaborKernel", "GaussianKernel")
    },
    "takes and fills arrays in parts": {"restore.restore_tiled"},
    "looks at the values, to say what is wrong with them": {
        *("learn.border_side", "learn.estimate_shift", "learn.examine_window", "learn.find_shift"),
        "learn.examine_residuals",
        *("learn.recover_kernel", "learn.seen_directions", "learn.window_covariance"),
    },
}
ON_THE_HOST = {name for names in APART.values() for name in names}


def rooms():
    """The public ones."""
    found = {module.name for module in pkgutil.iter_modules(jaxconv.__path__)}
    return {name for name in found if not name.startswith("_")}


def public():
    """`learn.fit_kernel` and the like: functions and Flax modules."""
    names = set()
    for module_name, module in MODULES.items():
        room = module_name.removeprefix("jaxconv").removeprefix(".")
        for name in module.__all__:
            value = getattr(module, name)
            layer = inspect.isclass(value) and issubclass(value, linen.Module | nnx.Module)
            if inspect.isfunction(value) or layer:
                names.add(f"{room}.{name}".removeprefix("."))
    return names
