"""A pytest plugin that puts our functions in the place of SciPy's while SciPy's own tests run.

Each class of tests names the functions that are ours in it; every other one stays SciPy's, among
them `fftconvolve` in the tests of `oaconvolve`, which is their oracle. Two things are translated:

- results become NumPy arrays, which is what the tests compare, index and add to;
- `output=array`, which we refuse, becomes `output=dtype` and a copy into the array. What such a
  case then shows is that the values and the refusals are right, not that we write in place.

Run as `python -m pytest -p scipy_plugin --pyargs scipy.signal.tests.test_signaltools`, with 64 bits
(`JAX_ENABLE_X64=1`). `--one-in N` keeps a seeded sample, `--shard I/N` one of N parts, `--report
FILE` writes what happened to each case, and `left_out.txt` names the cases that are not run, with
reasons.
"""

import contextlib
import fnmatch
import functools
import json
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest

SEED = 20261122
HERE = Path(__file__).parent

SIGNAL = (
    "convolve",
    "correlate",
    "convolve2d",
    "correlate2d",
    "fftconvolve",
    "oaconvolve",
    "choose_conv_method",
    "correlation_lags",
    "sepfir2d",
)
DESIGNS = ("firwin", "get_window", "savgol_coeffs")  # ours call SciPy's
RATES = ("upfirdn", "resample_poly", "decimate")
NDIMAGE = (
    "correlate",
    "convolve",
    "correlate1d",
    "convolve1d",
    "gaussian_filter",
    "gaussian_filter1d",
    "uniform_filter",
    "uniform_filter1d",
    "sobel",
    "prewitt",
    "laplace",
    "gaussian_laplace",
    "gaussian_gradient_magnitude",
    "generic_laplace",
    "generic_gradient_magnitude",
    "maximum_filter",
    "maximum_filter1d",
    "minimum_filter",
    "minimum_filter1d",
)
SAVGOL = (
    *("test_sg_coeffs_trivial", "test_sg_coeffs_compare", "test_sg_coeffs_exact"),
    *("test_sg_coeffs_deriv", "test_sg_coeffs_deriv_gt_polyorder", "test_sg_coeffs_large"),
    *("test_sg_coeffs_even_window_length", "test_sg_filter_trivial", "test_sg_filter_basic"),
    *("test_sg_filter_2d", "test_sg_filter_interp_edges", "test_sg_filter_interp_edges_3d"),
    "test_sg_filter_valid_window_length_3d",
)
LINEAR = ("Float32", "Float64", "Complex64", "Complex128")
# suite -> (module, functions of ours). A suite is a class, or a function outside of any.
SUITES = {
    "TestConvolve": ("signal", SIGNAL),
    "TestConvolve2d": ("signal", SIGNAL),
    "TestFFTConvolve": ("signal", ("fftconvolve", "convolve")),
    "TestOAConvolve": ("signal", ("oaconvolve",)),
    "TestAllFreqConvolves": ("signal", SIGNAL),
    "test_convolve_longdtype_input": ("signal", SIGNAL),
    "TestCorrelateReal": ("signal", SIGNAL),
    "TestCorrelate": ("signal", SIGNAL),
    "TestCorrelateComplex": ("signal", SIGNAL),
    "TestCorrelate2d": ("signal", SIGNAL),
    "test_correlation_lags": ("signal", SIGNAL),
    "test_correlation_lags_invalid_mode": ("signal", SIGNAL),
    "TestSepfir2d": ("signal", SIGNAL),
    "TestUpfirdn": ("signal", RATES),
    "TestResample": ("signal", RATES),
    "TestDecimate": ("signal", RATES),
    **dict.fromkeys(SAVGOL, ("signal", ("savgol_coeffs", "savgol_filter"))),
    **{f"TestLinearFilter{kind}": ("signal", ("lfilter",)) for kind in LINEAR},
    "TestFiltFilt": ("signal", ("filtfilt", "lfilter")),
    "TestWiener": ("signal", ("wiener",)),
    "TestHilbert": ("signal", ("hilbert",)),
    "TestFirwin": ("signal", ("firwin",)),
    "TestFirWinMore": ("signal", ("firwin",)),
    "TestGetWindow": ("signal", ("get_window",)),
    "TestNdimageFilters": ("ndimage", NDIMAGE),
}
MODULES = (
    "scipy.signal.tests.test_signaltools",
    "scipy.signal.tests.test_bsplines",
    "scipy.signal.tests.test_upfirdn",
    "scipy.signal.tests.test_savitzky_golay",
    "scipy.signal.tests.test_fir_filter_design",
    "scipy.signal.tests.test_windows",
    "scipy.ndimage.tests.test_filters",
)

_called: set[str] = set()


def pytest_addoption(parser):
    parser.addoption("--one-in", type=int, default=1)
    parser.addoption("--shard", default="0/1", help="I/N: the I-th of N parts of the cases")
    parser.addoption("--report", default=None)


def suite_of(item) -> str:
    return item.cls.__name__ if item.cls else getattr(item, "originalname", item.name)


def case_name(item) -> str:
    return f"{suite_of(item)}::{item.name}" if item.cls else item.name


def left_out() -> list[tuple[str, str]]:
    """(pattern, reason) of each case that is not run."""
    lines = (HERE / "left_out.txt").read_text().splitlines()
    entries = [line.split("  ", 1) for line in lines if line and not line.startswith("#")]
    return [(pattern.strip(), reason.strip()) for pattern, reason in entries]


def _reason(name: str, entries) -> str | None:
    plain = name.replace("[", "<").replace("]", ">")  # brackets mean something else to fnmatch
    for pattern, reason in entries:
        if fnmatch.fnmatchcase(plain, pattern.replace("[", "<").replace("]", ">")):
            return reason
    return None


@functools.cache
def _designs():
    """SciPy's own, since this is called while tests are collected."""
    import scipy.signal

    return {name: getattr(scipy.signal, name) for name in DESIGNS}


@functools.cache
def ours(module: str, name: str):
    """Our function, speaking NumPy."""
    import scipy.signal

    from jaxconv.compat.scipy import ndimage, signal

    designs = _designs()
    function = getattr({"signal": signal, "ndimage": ndimage}[module], name)

    @functools.wraps(function)
    def call(*args, **kwargs):
        _called.add(name)
        args, target = list(args), None
        if module == "ndimage":
            # (function's positions of `output`): 2, or 3 where an axis, sigma or order is before
            where = {"correlate1d": 3, "convolve1d": 3, "uniform_filter1d": 3, "laplace": 1}
            where |= {"gaussian_filter": 3, "gaussian_filter1d": 4}
            where |= {f"{end}imum_filter{rank}": 3 for end in ("max", "min") for rank in ("", "1d")}
            at = where.get(name, 2)
            if len(args) > at and isinstance(args[at], np.ndarray):
                target, args[at] = args[at], args[at].dtype.name
            elif isinstance(kwargs.get("output"), np.ndarray):
                target = kwargs["output"]
                kwargs["output"] = target.dtype.name
        if name in DESIGNS:
            kwargs.pop("xp", None)  # the namespace of the arrays that SciPy is to return
        with pytest.MonkeyPatch.context() as patch:
            for design, original in designs.items():
                patch.setattr(scipy.signal, design, original)
            result = function(*args, **kwargs)
        if isinstance(result, jax.Array):
            result = np.array(result)[()]  # NumPy's functions return scalars, not (), arrays
        elif isinstance(result, tuple):
            result = jax.tree.map(
                lambda leaf: np.array(leaf) if isinstance(leaf, jax.Array) else leaf, result
            )
        if target is not None:
            target[...] = result
            return target
        return result

    return call


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    import scipy.ndimage
    import scipy.signal

    theirs = {"signal": scipy.signal, "ndimage": scipy.ndimage}
    entries = left_out()
    shard, shards = map(int, config.getoption("--shard").split("/"))
    kept, gone, report = [], [], []
    for item in items:
        suite = suite_of(item)
        if item.module.__name__ not in MODULES or suite not in SUITES:
            gone.append(item)
            continue
        name = case_name(item)
        reason = _reason(name, entries)
        one_in = config.getoption("--one-in")
        if zlib.crc32(f"shard {name}".encode()) % shards != shard:
            gone.append(item)
        elif reason is not None:
            report.append({"suite": suite, "case": name, "outcome": "left out", "reason": reason})
            gone.append(item)
        elif zlib.crc32(f"{SEED} {name}".encode()) % one_in:
            gone.append(item)
        else:
            kept.append(item)
            module, names = SUITES[suite]
            swap = {id(getattr(theirs[module], n)): ours(module, n) for n in names}
            parameters = getattr(item, "callspec", None)
            for key, value in (parameters.params if parameters else {}).items():
                if id(value) in swap:
                    parameters.params[key] = swap[id(value)]
    config.hook.pytest_deselected(items=gone)
    items[:] = kept
    config.stash[_REPORT] = report


_REPORT = pytest.StashKey[list]()


@contextlib.contextmanager
def in_place(item):
    """Our functions where the module of the test, and the package, have SciPy's."""
    import scipy.ndimage
    import scipy.signal

    module, names = SUITES[suite_of(item)]
    package = {"signal": scipy.signal, "ndimage": scipy.ndimage}[module]
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            # `correlate1d` in test_signaltools is ndimage's
            if getattr(item.module, name, None) is getattr(package, name):
                patch.setattr(item.module, name, ours(module, name))
            patch.setattr(package, name, ours(module, name))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    _called.clear()
    with in_place(item):
        result = yield
    item.user_properties.append(("called", sorted(_called)))
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    made = yield
    if call.when == "call" or (call.when == "setup" and made.outcome == "skipped"):
        called = bool(_called) if call.when == "call" else True
        outcome = made.outcome
        reason = ""
        if outcome == "skipped":
            reason = str(made.longrepr[2] if isinstance(made.longrepr, tuple) else made.longrepr)
        elif not called:
            outcome, reason = "not ours", "calls none of our functions"
        item.config.stash[_REPORT].append(
            {
                "suite": suite_of(item),
                "case": case_name(item),
                "outcome": outcome,
                "reason": reason,
                "seconds": call.duration,
            }
        )
    return made


def pytest_sessionfinish(session):
    path = session.config.getoption("--report")
    if path:
        Path(path).write_text(json.dumps(session.config.stash.get(_REPORT, [])))
