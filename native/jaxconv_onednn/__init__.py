"""oneDNN's CPU convolutions as XLA FFI handlers, for `jaxconv._core.methods.onednn`.

Importing this loads the compiled plugin and oneDNN itself; it registers nothing with JAX.
"""

import ctypes
import os
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib

CONTRACTIONS = ("output", "input", "kernel")
DTYPES = ("float32", "bfloat16", "float16")
# the handlers of convolutions of integers, and of those with zero points and scales, for
# `jax.ffi.ffi_call`
INTEGERS = "jaxconv_onednn_integers"
QUANTIZED = "jaxconv_onednn_quantized"
_ONEDNN = "libdnnl.so.3"
# the numbers oneDNN gives the instruction sets that its half precision needs (dnnl_cpu_isa_t)
_AVX512_CORE_BF16, _AVX512_CORE_FP16 = 0xE7, 0x1EF

# Kept memory that is in no use is at most this part of what there is
_SHARE = 8
_CONTAINER_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


class CacheInfo(NamedTuple):
    """Number of cached plans, the largest number allowed, and the hits and misses of the cache."""

    size: int
    capacity: int
    hits: int
    misses: int


class KeptMemory(NamedTuple):
    """Bytes kept that are in no use, the most that may be, and whether XLA's memory is kept too."""

    idle: int
    most: int
    of_xla: bool


def _plugin() -> ctypes.CDLL:
    """Load the plugin, and oneDNN with it, so that oneDNN uses the plugin's threads.

    If libgomp is loaded globally, as by torch, the plugin's own functions of the same names must
    come first (RTLD_DEEPBIND). Sanitizers forbid that mode, so it is used only if needed.
    """
    known = hasattr(ctypes.CDLL(None), "GOMP_barrier")
    mode = os.RTLD_DEEPBIND if known else ctypes.DEFAULT_MODE
    for place in files(__name__).joinpath("_plugin.so"), *_installed():
        with as_file(place) as path:
            if path.exists():
                return _loaded(path, mode)
    raise ImportError("jaxconv_onednn: _plugin.so is missing: pip install ./native builds it")


def _loaded(path: Path, mode: int) -> ctypes.CDLL:
    """Load the plugin's file, with oneDNN from where its wheel is installed.

    The file looks for oneDNN where the wheels of one environment put both. Where they are in
    different places (a user's packages over an environment's, a prefix of its own), links to both
    lie side by side for the moment of loading: oneDNN must come in with the plugin, whose threads
    it would not use if it were loaded before.
    """
    try:
        return ctypes.CDLL(str(path), mode)
    except OSError as error:
        library = _onednn()
        if library is None:
            raise ImportError(
                f"jaxconv_onednn: {_ONEDNN} of onednn-cpu-gomp is not there (pip install "
                "--target leaves it out; an environment or --prefix has it)"
            ) from error
        with tempfile.TemporaryDirectory(prefix="jaxconv-onednn-") as folder:
            package, beside = Path(folder, "jaxconv_onednn"), Path(folder, "lib")
            package.mkdir()
            beside.mkdir()
            (package / path.name).symlink_to(path)
            (beside / _ONEDNN).symlink_to(library)
            return ctypes.CDLL(str(package / path.name), mode)


def _onednn() -> Path | None:
    """The file of oneDNN in its installed wheel, or None."""
    try:
        files = distribution("onednn-cpu-gomp").files or []
    except PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if file.name == _ONEDNN)
    return next((path.resolve() for path in found if path.exists()), None)


def _installed() -> list[Any]:
    """The plugin's paths in an editable install: in site-packages, not beside the sources."""
    try:
        wheel = distribution("jaxconv-onednn").files or []
    except PackageNotFoundError:
        return []
    return [file.locate() for file in wheel if file.name == "_plugin.so"]


_LIBRARY = _plugin()
if not _LIBRARY.jaxconv_onednn_has_own_threads():
    raise ImportError(
        "jaxconv_onednn: the oneDNN that is loaded does not run on the plugin's threads: another "
        "library loaded it before, or it is not that of onednn-cpu-gomp"
    )
# looked up here, so that a library older than this file does not load
_SERVES_INTEGERS = _LIBRARY.jaxconv_onednn_serves_integers


def register() -> None:
    """Register the FFI handlers of the three contractions with JAX, as `target(contraction)`.

    Starts JAX's CPU backend if it is not running: registrations made earlier are queued, and the
    queue passes the handlers on before the type of their state, which XLA refuses.
    """
    jax.local_devices(backend="cpu")
    folder = os.path.join(os.path.dirname(jaxlib.__file__), "")
    _LIBRARY.jaxconv_onednn_keep_memory_of(os.fsencode(folder))
    address = {name: _function(name, ctypes.c_void_p)() for name in ("type_id", "type_info")}
    jax.ffi.register_ffi_type(
        "jaxconv_onednn_call",
        {name: jax.ffi.pycapsule(where) for name, where in address.items()},
        platform="cpu",
    )
    instantiate = jax.ffi.pycapsule(_LIBRARY.jaxconv_onednn_instantiate)
    for name in CONTRACTIONS:
        execute = jax.ffi.pycapsule(getattr(_LIBRARY, target(name)))
        stages = {"instantiate": instantiate, "execute": execute}
        jax.ffi.register_ffi_target(target(name), stages, platform="cpu")
    for name in (INTEGERS, QUANTIZED):
        execute = jax.ffi.pycapsule(getattr(_LIBRARY, name))
        jax.ffi.register_ffi_target(name, execute, platform="cpu")


def target(contraction: str) -> str:
    """Return the name of a contraction's handlers, for `jax.ffi.ffi_call`."""
    return f"jaxconv_onednn_{contraction}"


def _function(name: str, result: Any) -> Any:
    function = getattr(_LIBRARY, f"jaxconv_onednn_call_{name}")
    function.restype = result
    return function


def cache_info() -> CacheInfo:
    """Return the state of the cache of plans."""
    values = (ctypes.c_int64 * 4)()
    _LIBRARY.jaxconv_onednn_cache_info(values)
    return CacheInfo(*values)


def cache_resize(capacity: int) -> None:
    """Set how many plans may be cached, at least 1; the least recently used are dropped."""
    _LIBRARY.jaxconv_onednn_cache_resize(ctypes.c_int64(capacity))


def kept_memory() -> KeptMemory:
    """Return how much memory is kept between calls."""
    values = (ctypes.c_int64 * 3)()
    _LIBRARY.jaxconv_onednn_kept_memory(values)
    return KeptMemory(values[0], values[1], bool(values[2]))


def keep_memory(most: int, *, seconds: int = 30) -> None:
    """Set how many bytes in no use may be kept between calls, and for how long; 0 bytes keep none.

    A block that was in no use for longer is freed when another one is given back.
    """
    limits = map(ctypes.c_int64, (most, seconds))
    _LIBRARY.jaxconv_onednn_limit_kept_memory(*limits)


def _available_memory() -> int:
    """Bytes that the machine has, or the container."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in _CONTAINER_LIMITS:
        try:
            found.append(int(Path(name).read_text()))
        except (OSError, ValueError):  # not in a container, or "max"
            continue
    return min(found)


keep_memory(_available_memory() // _SHARE)


def version() -> str:
    """Return oneDNN's version."""
    return ".".join(map(str, _version()[:3]))


def dtypes() -> tuple[str, ...]:
    """Return the dtypes that this CPU has instructions for, and oneDNN kernels.

    Without the instructions oneDNN takes bfloat16 apart inside its kernels, which take two to three
    times as long as those for float32.
    """
    isa = _version()[3]
    has_bfloat16 = isa & _AVX512_CORE_BF16 == _AVX512_CORE_BF16
    has_float16 = isa & _AVX512_CORE_FP16 == _AVX512_CORE_FP16
    return ("float32", *["bfloat16"] * has_bfloat16, *["float16"] * has_float16)


def serves_integers() -> bool:
    """Return whether this CPU can run the plugin's convolution of integers: it needs AVX2."""
    return bool(_SERVES_INTEGERS())


def implementation(
    contraction: str,
    x: Sequence[int],
    w: Sequence[int],
    *,
    y: Sequence[int],
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    dtype: str = "float32",
    result: str | None = None,
) -> str:
    """Return the name of the implementation that would compute one contraction.

    It is oneDNN's name, with " in blocks" after it if the arrays are reordered into blocks of
    channels, or the name of one of the plugin's own kernels and of their instruction set, avx512f
    or avx2: "jaxconv_depthwise:avx2", "jaxconv_grouped:avx2" for small groups, "jaxconv_stem:avx2"
    for dense layers of few input channels, or "jaxconv_plane:avx2" and "jaxconv_line:avx2", which
    read rows of one or few channels element by element.

    Args:
        contraction: "output", "input" or "kernel".
        x: (n, *space, in).
        w: (*kernel, in // groups, out).
        y: (n, *space', out).
        stride: one number for each spatial dimension.
        before: zeros before, one number for each spatial dimension.
        after: zeros after, one number for each spatial dimension.
        dilation: one number for each spatial dimension.
        groups: input channels are split into `groups` equal parts, each convolved separately.
        dtype: of the operands.
        result: dtype of the result; that of the operands if None.

    Raises:
        ValueError: the shapes are not those of a convolution, or oneDNN cannot compute it.
    """
    rank = len(w) - 2
    shapes = (ctypes.c_int64 * (3 * rank + 6))(*x, *w, *y)
    geometry = (ctypes.c_int64 * (4 * rank + 1))(*stride, *dilation, *before, *after, groups)
    answer = ctypes.create_string_buffer(512)
    failed = _LIBRARY.jaxconv_onednn_implementation(
        ctypes.c_int64(CONTRACTIONS.index(contraction)),
        ctypes.c_int64(rank),
        shapes,
        geometry,
        ctypes.c_int64(DTYPES.index(dtype)),
        ctypes.c_int64(DTYPES.index(result or dtype)),
        answer,
        ctypes.c_int64(len(answer)),
    )
    text = answer.value.decode()
    if failed:
        raise ValueError(text)
    return text


def _version() -> tuple[int, ...]:
    values = (ctypes.c_int64 * 4)()
    _LIBRARY.jaxconv_onednn_version(values)
    return tuple(values)
