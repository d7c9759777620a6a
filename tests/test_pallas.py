"""The depthwise kernels for GPUs and TPUs, in Pallas' interpreter beside the explicit loops.

Both sets of kernels run here, the one for GPUs too. `make test-tpu` compiles those for TPUs.
"""

import contextlib
import functools
import re

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, CONTRACTIONS, OPERANDS, Case
from jax import export

from jaxconv import Policy, accelerate, conv, explain, tune
from jaxconv._core.dispatch.choose import EXPORTED, candidates, refusal, select
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.methods import METHODS, pallas, pallas_blocks, pallas_mosaic, pallas_plan
from jaxconv._core.methods import pallas_triton as triton
from jaxconv._transforms.tune import medians

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KERNELS = {"gpu": triton, "tpu": pallas_mosaic}
TABLE = [
    case
    for case in CASES
    if case.spec.rank < 3 and case.w[-2] == 1 and case.x[-1] == case.spec.groups
]
OWN = (
    Case(
        "strided, dilated, cut",
        (2, 9, 8, 12),
        (3, 2, 1, 12),
        {"stride": (2, 1), "dilation": (1, 2), "padding": ((1, 0), (-1, 0)), "groups": 12},
    ),
    Case("stride over kernel", (1, 7, 9, 3), (1, 2, 1, 3), {"stride": (2, 4), "groups": 3}),
    Case("two tiles of channels", (1, 5, 4, 130), (2, 2, 1, 130), {"padding": 2, "groups": 130}),
    Case(
        "dilation over stride",
        (1, 11, 15, 5),
        (3, 4, 1, 5),
        {"stride": (3, 2), "dilation": (2, 3), "padding": 2, "groups": 5},
    ),
    Case(
        "padding alone at both ends",
        (1, 20, 17),
        (3, 1, 17),
        {"padding": ((40, 50),), "groups": 17},
    ),
)


@pytest.fixture(params=KERNELS)
def kernels(request, monkeypatch):
    """Either set of kernels, in the interpreter."""
    monkeypatch.setattr(pallas, "_kernels", lambda platform: KERNELS[request.param])
    return request.param


@pytest.fixture
def small(monkeypatch):
    """Blocks, and parts of a kernel, of which small arrays have several."""
    monkeypatch.setattr(pallas_blocks, "BLOCK", 90_000)
    monkeypatch.setattr(pallas_blocks, "AT_ONCE", 16)
    monkeypatch.setattr(pallas_plan, "UNROLLED", 4)
    monkeypatch.setattr(pallas_mosaic, "ENTRIES", 3)
    monkeypatch.setattr(triton, "ENTRIES", 3)
    monkeypatch.setattr(triton, "PROGRAMS", 8)


def program(case, result="float32"):
    """The three contractions of a case, in one program."""

    @jit
    def everything(arrays):
        lined = {
            name: array if name == "w" else cases.one_batch_axis(array, case.spec.rank)
            for name, array in arrays.items()
        }
        return {
            contraction: METHODS["pallas"].contractions[contraction](
                *(lined[name] for name in OPERANDS[contraction]),
                case.spec,
                dtype=jnp.dtype(result),
            )
            for contraction in CONTRACTIONS
        }

    return everything


def assert_held(case, found, arrays):
    for contraction, result in found.items():
        a, b = (arrays[name] for name in OPERANDS[contraction])
        cases.assert_matches(result, contraction, a, b, case.spec)


def assert_matches(case):
    """Values, and where NaN in x and y goes: not to what lies beside it in a block."""
    everything, arrays = program(case), case.arrays()
    assert_held(case, everything(arrays), arrays)
    for name, contractions in (("x", ("output", "kernel")), ("y", ("input",))):
        for place in (1, 2):
            given = arrays | {name: arrays[name].copy()}
            given[name][tuple((n - 1) // place for n in arrays[name].shape)] = np.nan
            found = everything(given)
            for contraction in contractions:
                a, b = (given[each] for each in OPERANDS[contraction])
                wanted = np.isnan(cases.expected(contraction, a, b, case.spec))
                np.testing.assert_array_equal(np.isnan(found[contraction]), wanted)


@pytest.mark.cover("kernels case", case=cases.traits)
@pytest.mark.parametrize("case", [*TABLE, *OWN], ids=str)
def test_all_contractions_match_the_reference(case, kernels):
    assert_matches(case)


LARGE = (
    Case("rows of a kernel", (2, 37, 20, 5), (5, 3, 1, 5), {"padding": 2, "groups": 5}),
    Case("a long kernel", (1, 50, 3), (11, 1, 3), {"padding": ((7, 3),), "stride": 2, "groups": 3}),
)


@pytest.mark.cover
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_kernels_and_arrays_of_several_blocks(case, kernels, small):
    if kernels == "tpu":
        rows, columns = pallas_blocks.cut(pallas_plan.forward(case.spec), "float32", "float32")
        assert rows.number * columns.number > 1
    assert_matches(case)


@pytest.mark.cover
@pytest.mark.parametrize("seed", range(2))
def test_random_geometries(seed, kernels, small):
    rng = np.random.default_rng(seed)
    rank = 1 + seed % 2
    pick = lambda low, high: rng.integers(low, high, rank).tolist()
    kernel, channels, many = pick(1, 5), int(rng.integers(1, 20)), int(rng.integers(1, 3))
    arguments = {
        "stride": pick(1, 4),
        "dilation": pick(1, 4),
        "padding": [tuple(rng.integers(-2, 9, 2).tolist()) for _ in range(rank)],
        "groups": channels,
    }
    assert_matches(Case("", (2, *pick(18, 30), channels), (*kernel, 1, many * channels), arguments))


def test_bfloat16_is_rounded_once(kernels):
    """Each result is that of the same numbers in float32, rounded."""
    case = cases.by_name("1d causal depthwise")
    arrays = case.arrays("bfloat16")
    found = program(case, "bfloat16")(arrays)
    assert_held(case, found, arrays)
    wide = program(case)(arrays)
    assert_held(case, wide, arrays)
    for contraction in CONTRACTIONS:
        np.testing.assert_array_equal(found[contraction], wide[contraction].astype("bfloat16"))


def test_integers_as_floats():
    case = cases.by_name("1d causal depthwise")
    arrays = case.arrays("int8")
    assert_held(case, program(case)(arrays), arrays)


def test_gradients_to_second_order():
    case = cases.by_name("2d multiplier")
    x, w, y = (jnp.asarray(case.arrays()[name]) for name in "xwy")

    def loss(x, w, method):
        return jnp.sum(jnp.sin(conv(x, w, **case.arguments, method=method)) * y)

    def derivatives(method):
        gradient = jax.grad(loss, (0, 1))
        curved = lambda x, w: sum(jnp.sum(jnp.cos(g)) for g in gradient(x, w, method))
        return gradient(x, w, method), jax.grad(curved, (0, 1))(x, w)

    ours, wanted = jit(lambda: [derivatives(method) for method in ("pallas", "lax")])()
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), ours, wanted)
    names = {row.method for row in explain(jax.grad(loss, (0, 1)), x, w, "pallas")}
    assert names == {"pallas"}


def test_mapped_operands_and_batch_axes():
    """vmap over x joins the batch, over w and both the groups."""
    case = cases.by_name("1d causal depthwise")
    for contraction in CONTRACTIONS:
        a, b = (np.stack([array, 2 * array]) for array in case.operands(contraction))
        f = functools.partial(contract, contraction, spec=case.spec, dtype="float32")

        @jit
        def everything(a, b, f=f):
            f = functools.partial(f, method="pallas")
            return [jax.vmap(f, axes)(*given) for axes, given in mapped(a, b).items()]

        for (axes, given), results in zip(mapped(a, b).items(), everything(a, b), strict=True):
            for n in range(2):
                one = [g if axis is None else g[n] for axis, g in zip(axes, given, strict=True)]
                cases.assert_matches(results[n], contraction, *one, case.spec)


def mapped(a, b):
    return {(0, None): (a, b[0]), (None, 0): (a[0], b), (0, 0): (a, b)}


def test_an_empty_batch():
    x, w = jnp.ones((0, 6, 4)), jnp.ones((3, 1, 4))
    assert conv(x, w, groups=4, method="pallas").shape == (0, 4, 4)
    assert not jax.grad(lambda w: conv(x, w, groups=4, method="pallas").sum())(w).any()


LAYER = Case("", (2, 6, 5, 4), (3, 3, 1, 4), {"groups": 4, "padding": 1})


def problem(contraction="output", platform="gpu", case=LAYER, **changes):
    return case.problem(contraction, platform=platform)._replace(**changes)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (problem(), None),
        (problem("kernel", "tpu", dtype="bfloat16"), None),
        (problem(dtype="float16"), "pallas does not compute in float16"),
        (problem(case=cases.by_name("3d grouped"), inputs=1), "pallas has no kernels of rank 3"),
        (
            problem(case=cases.by_name("2d grouped")),
            "pallas has kernels for one input channel in each group alone",
        ),
        (
            problem(case=Case("", (1, 200, 200, 1), (33, 33, 1, 1), {"dilation": 2})),
            "pallas has no kernels that span more than 4,096 positions",
        ),
        *(
            (problem(contraction, platform, Case("", (1, 80, 80, 1), (33, 32, 1, 1))), reason)
            for contraction, platform, reason in (
                ("kernel", "tpu", "pallas has no gradients of more than 1,024 entries on TPUs"),
                ("kernel", "gpu", None),
                ("output", "tpu", None),
            )
        ),
        (problem("kernel", "tpu", Case("", (1, 80, 80, 1), (32, 32, 1, 1))), None),
        (
            problem(case=Case("", (1, 40, 1), (2, 1, 1), {"stride": 17})),
            "pallas has no kernels of strides above 16",
        ),
        (
            problem(case=Case("", (1 << 15, 1 << 16, 1), (2, 1, 1))),
            "pallas counts no more than 1,073,741,824 positions on GPUs",
        ),
        (problem(platform="tpu", case=Case("", (1 << 15, 1 << 16, 1), (2, 1, 1))), None),
    ],
)
def test_what_it_serves(found, reason):
    assert refusal(found, "pallas") == reason
    wanted = ("pallas", "asked for") if reason is None else ("lax", reason)
    assert select(found, "pallas") == wanted


def test_a_jax_without_triton(monkeypatch):
    monkeypatch.setattr(pallas, "_has_triton", lambda: False)
    reason = "this version of JAX has no Pallas for GPUs through Triton"
    assert select(problem(), "pallas") == ("lax", reason)
    assert refusal(problem(platform="tpu"), "pallas") is None


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_no_rule_takes_it_unmeasured(platform):
    for rule in ("auto", "fastest"):
        for contraction in CONTRACTIONS:
            assert select(problem(contraction, platform), rule).method != "pallas"
        assert ("pallas" in candidates(rule, platform)) == (platform != "cpu")


def test_tune_times_it_on_accelerators_alone():
    policy = tune(functools.partial(conv, groups=4), *layer(), seconds=0.001)
    [(on_cpu, times)] = policy.seconds.items()
    assert "pallas" not in times
    # "gpu" is taken from the problem; what is timed here is the interpreter
    assert "pallas" in medians(on_cpu._replace(platform="gpu"), 0.001, "auto")


def layer():
    return jnp.ones(LAYER.x), jnp.ones(LAYER.w)


def targets(text):
    return set(re.findall(r"custom_call @(\S+?)\(", text))


# jax 0.12 says so for each kernel that is lowered; `refuses_problem` is for when it is gone
DEPRECATED = pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
KINDS = {"cuda": "NVIDIA H100", "rocm": "gfx942"}


def described(platform):
    """What Pallas asks of a process without GPUs: which one the kernels are for."""
    if platform not in KINDS or jax.__version_info__ < (0, 12):
        return contextlib.nullcontext()
    gpu = jax.sharding.AbstractDevice(KINDS[platform], num_cores=None, platform=platform)
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=gpu))


@DEPRECATED
@pytest.mark.parametrize(("dtype", "wide"), [("float32", True), ("bfloat16", False)])
@pytest.mark.parametrize(
    ("platform", "target"),
    [
        ("cuda", "__gpu$xla.gpu.triton"),
        ("rocm", "__gpu$xla.gpu.triton"),
        ("tpu", "tpu_custom_call"),
    ],
)
def test_lowered_for_accelerators(platform, target, dtype, wide):
    """Value and both gradients, from this CPU, as kernels and nothing else; in 64 bits too."""
    program = jax.value_and_grad(
        lambda x, w: conv(x, w, **LAYER.arguments, method="pallas").astype("float32").sum(), (0, 1)
    )
    x, w = (array.astype(dtype) for array in layer())
    with described(platform), jax.enable_x64(wide):
        text = jax.jit(program).trace(x, w).lower(lowering_platforms=(platform,)).as_text()
    assert targets(text) == {target}
    assert "stablehlo.convolution" not in text


@DEPRECATED
def test_a_policy_takes_it_but_in_what_is_exported():
    """`jax.export` guarantees nothing for kernels of Triton, and does for those of TPUs."""
    f = functools.partial(conv, **LAYER.arguments)
    chosen = Policy({problem(platform=platform): "pallas" for platform in ("gpu", "tpu")})
    program = jax.jit(accelerate(f, policy=chosen))
    with described("cuda"):
        lowered = program.trace(*layer()).lower(lowering_platforms=("cuda",)).as_text()
    assert targets(lowered) == {"__gpu$xla.gpu.triton"}
    for platform, target in (("cuda", set()), ("tpu", {"tpu_custom_call"})):
        exported = export.export(program, platforms=[platform])(*layer())
        assert targets(exported.mlir_module()) == target
    everywhere = export.export(program, platforms=["cpu", "cuda", "tpu"])(*layer())
    np.testing.assert_allclose(everywhere.call(*layer()), f(*layer()), rtol=1e-5)
    reason = "jax.export takes no programs with pallas"
    assert refusal(problem(), "pallas", EXPORTED) == reason
