"""What each method that `auto` takes promises: where NaN goes, and one result in any batch.

The table "What `auto` promises" of docs/methods.md names these tests.
"""

import functools

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, CONTRACTIONS, OPERANDS, Case

from jaxconv._core.dispatch.choose import (
    EXPORTED,
    IMAGES,
    candidates,
    refusal,
    select,
)
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.dispatch.seamless import SEAMLESS
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import normalise
from jaxconv._core.machine import cpu_kind
from jaxconv._core.methods import METHODS

RNG = np.random.default_rng(0)
# values are compared, not times
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


# NaN and infinity, method by method, beside the loops.

SPECIAL = (
    Case("stem", (1, 12, 13, 3), (7, 7, 3, 4), {"stride": 2, "padding": 3}),
    Case("patches", (2, 8, 8, 4), (2, 2, 2, 6), {"stride": 2, "groups": 2}),
    Case("depthwise", (1, 9, 9, 16), (3, 3, 1, 16), {"padding": 1, "groups": 16}),
    Case("channels", (1, 6, 7, 16), (3, 3, 16, 16), {"padding": 1, "stride": 2}),
    Case("line", (1, 60, 1), (31, 1, 1), {"padding": 15}),
    Case("all of the image", (2, 4, 3, 4), (7, 5, 2, 6), {"padding": [3, 2], "groups": 2}),
    Case("larger than the image", (1, 4, 4, 2), (7, 7, 2, 2), {"padding": 6}),
)
TRIED = (
    *SPECIAL,
    *(
        cases.by_name(name)
        for name in (
            "1d stride over kernel",
            "2d same even",
            "2d negative pads",
            "2d wide pads",
            "2d 1x1 strided",
            "2d multiplier",
            "2d everything",
            "3d grouped",
            "4d",
        )
    ),
)


@pytest.mark.cover(case=cases.traits)
@pytest.mark.parametrize("case", TRIED, ids=str)
def test_what_is_not_finite_reaches_what_sees_it(case):
    """Of x and y, exactly; of what plays the kernel, at least that, and no other channel.

    In `output` and `input` w plays the kernel, in `kernel` y does: where it meets padding or the
    gaps of a stride, 0 times NaN may count.
    """
    for contraction in CONTRACTIONS:
        spec, operands = case.spec, case.operands(contraction)
        problem = Problem.of(contraction, *operands, spec, dtype="float32", platform="cpu")
        methods = taken(problem)

        @quick
        def everything(a, b, contraction=contraction, spec=spec, methods=methods):
            f = functools.partial(contract, contraction, a, b, spec, dtype="float32")
            return {method: f(method=method) for method in methods}

        for which, name in enumerate(OPERANDS[contraction]):
            plays_the_kernel = name == ("y" if contraction == "kernel" else "w")
            for value in (np.nan, -np.inf):
                for at in places(operands[which].shape):
                    given = [array.copy() for array in operands]
                    given[which][at] = value
                    with np.errstate(invalid="ignore"):
                        wanted = cases.expected(contraction, *given, spec)
                    may = None
                    if plays_the_kernel:
                        may = channels_of(contraction, at, wanted, case)
                    for method, found in everything(*given).items():
                        note = f"{method} {contraction} {name}{at}"
                        check(np.asarray(found), wanted, may, note)


def taken(problem):
    """The methods that "auto" may take, "auto" itself first."""
    may = [m for m in candidates("auto") if refusal(problem, m) is None]
    return ["auto", *(m for m in may if METHODS[m].considered(problem))]


def places(shape):
    """Both corners, and two elements between."""
    return [
        (0,) * len(shape),
        tuple(n - 1 for n in shape),
        tuple(n // 2 for n in shape),
        tuple((2 * n) // 3 for n in shape),
    ]


def channels_of(contraction, at, wanted, case):
    """Where an entry of what plays the kernel may reach: its channel of the result, everywhere."""
    may = np.zeros(wanted.shape, bool)
    channel = at[-1]
    if contraction == "input":  # w[k, i, g o] reaches x[.., g i]
        channel = at[-1] // (case.w[-1] // case.spec.groups) * case.w[-2] + at[-2]
    may[..., channel] = True
    return may


def check(found, wanted, may, note):
    """Compare what is not finite, by kind, and what is."""
    reached = ~np.isfinite(wanted)
    if may is None:
        np.testing.assert_array_equal(found[reached], wanted[reached], err_msg=note)
        extra = np.zeros_like(reached)
    else:
        assert not np.isfinite(found[reached]).any(), note
        extra = ~np.isfinite(found) & ~reached
        assert not (extra & ~may).any(), note
    rest = ~reached & ~extra
    np.testing.assert_allclose(found[rest], wanted[rest], rtol=1e-4, atol=1e-4, err_msg=note)


# One image's result, in whatever batch.

BATCHED = {
    "3x3": ((14, 14, 16), (3, 3, 16, 24), {"padding": 1}),
    "3x3 strided": ((17, 17, 16), (3, 3, 16, 8), {"padding": 1, "stride": 2}),
    "1x1": ((16, 16, 64), (1, 1, 64, 32), {}),
    "patches": ((16, 16, 12), (2, 2, 12, 24), {"stride": 2}),
    "stem": ((20, 20, 3), (7, 7, 3, 8), {"stride": 2, "padding": 3}),
    "grouped": ((14, 14, 32), (3, 3, 4, 32), {"padding": 1, "groups": 8}),
    "depthwise": ((14, 14, 32), (3, 3, 1, 32), {"padding": 1, "groups": 32}),
    "plane": ((64, 64, 1), (15, 15, 1, 1), {"padding": 7}),
    "line": ((300, 8), (9, 8, 12), {"padding": 4}),
    "volume": ((8, 9, 10, 4), (3, 3, 3, 4, 6), {"padding": 1}),
}


# Channels made up to which XLA's matrix products add an image's last positions in another order, on
# CPUs without AVX-512.
FEW = 16


def holds(method, problem, made):
    """Whether the promise is made for a method: see the exceptions in docs/methods.md."""
    method = select(problem, method).method
    return cpu_kind() != "avx2" or made > FEW or method in SEAMLESS


@pytest.mark.cover
@pytest.mark.parametrize(
    ("layer", "dtype"),
    [
        *((layer, "float32") for layer in BATCHED),
        *((layer, "bfloat16") for layer in ("3x3", "1x1", "patches", "depthwise")),
    ],
)
def test_an_images_result_does_not_depend_on_its_batch(layer, dtype):
    """Bit for bit, for every method that "auto" may take; so under `vmap` over x."""
    size, kernel, arguments = BATCHED[layer]
    spec = normalise("conv", (1, *size), kernel, **arguments)
    w = jnp.asarray(RNG.normal(size=kernel)).astype(dtype)
    for contraction in ("output", "input"):
        one = size if contraction == "output" else (*spec.output_size, kernel[-1])
        a = jnp.asarray(RNG.normal(size=(8, *one))).astype(dtype)
        problem = Problem.of(contraction, a, w, spec, dtype=a.dtype, platform="cpu")
        f = functools.partial(contract, contraction, b=w, spec=spec, dtype=a.dtype)

        made = problem.outputs if contraction == "output" else problem.inputs
        methods = [m for m in taken(problem) if holds(m, problem, made)]

        @quick
        def everything(a, f=f, methods=methods):
            return {method: f(a, method=method) for method in methods}

        whole = jax.tree.map(bits, everything(a))
        for n in (1, 3):
            for method, part in everything(a[-n:]).items():
                np.testing.assert_array_equal(bits(part), whole[method][-n:], err_msg=method)
        if contraction == "output" and "auto" in whole:
            np.testing.assert_array_equal(bits(quick(jax.vmap(f))(a)), whole["auto"])


def bits(array):
    return np.asarray(array).view(np.uint16 if array.dtype == jnp.bfloat16 else np.uint32)


@pytest.mark.parametrize("alone", [None, EXPORTED])
@pytest.mark.parametrize("contraction", ["output", "input"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_choice_does_not_depend_on_the_batch(case, contraction, alone):
    problem = Problem(
        contraction, case.spec, 1, case.w[-2], case.w[-1] // case.spec.groups, "float32", "cpu"
    )
    batches = (0, 1, 2, 7, IMAGES, 1000)
    assert (
        len({select(problem._replace(batch=n), ffi_unavailable_reason=alone) for n in batches}) == 1
    )
