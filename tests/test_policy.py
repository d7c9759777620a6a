"""Measured choices: what a `Policy` holds, how it is saved, who obeys it, what `tune` finds."""

import dataclasses
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxconv
from jaxconv import accelerate, explain, linen, tune
from jaxconv import nnx as layers
from jaxconv._core.dispatch.choose import EXPORTED, Choice, refusal, select
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import METHODS

X, W = jnp.ones((2, 8, 6)), jnp.ones((3, 2, 9))
SPEC = ConvSpec((2,), (1,), ((1, 1),), 3, (8,), (3,))
PROBLEM = Problem("output", SPEC, 2, 2, 3, "float32", "cpu")
POLICY = Policy({PROBLEM: "loops"})


def ours(x, w, **numerics):
    return jaxconv.conv(x, w, stride=2, padding=1, groups=3, **numerics)


def theirs(x, w):
    return lax.conv_general_dilated(
        x, w, (2,), ((1, 1),), feature_group_count=3, dimension_numbers=("NHC", "HIO", "NHC")
    )


def methods(f, *args):
    return [row.method for row in explain(f, *args, platform="cpu")]


@pytest.mark.parametrize("contraction", ["output", "input", "kernel"])
def test_the_problem_of_two_operands(contraction):
    arrays = {"x": (5, 2, 8, 6), "w": (3, 2, 9), "y": (5, 2, 4, 9)}
    a, b = (
        jax.ShapeDtypeStruct(arrays[name], dtype)
        for name, dtype in zip(
            {"output": "xw", "input": "yw", "kernel": "xy"}[contraction],
            ("bfloat16", "float32"),
            strict=True,
        )
    )
    assert Problem.of(contraction, a, b, SPEC, dtype="float32", platform="tpu") == (
        Problem(contraction, SPEC, 10, 2, 3, "float32", "tpu")
    )


def test_a_policy_is_an_immutable_mapping():
    same = Policy([(PROBLEM, "loops")])
    assert (POLICY, hash(POLICY), dict(POLICY)) == (same, hash(same), {PROBLEM: "loops"})
    assert Policy({PROBLEM: "taps"}) != POLICY
    assert not hasattr(POLICY, "__setitem__")


TABLE = """
Policy of 2 choices
contraction  batch  channels  input  kernel  geometry                                method  ms
output       2      6 -> 9    8      3       stride=(2,) padding=((1, 1),) groups=3  loops   loops 0.4, taps 1.23
output       7      6 -> 9    8      3       stride=(2,) padding=((1, 1),) groups=3  lax
"""  # noqa: E501 (a table as it is printed)


def test_it_prints_what_was_measured(tmp_path):
    times = {PROBLEM: {"taps": 0.00123456, "loops": 0.0004}}
    measured = Policy({**POLICY, PROBLEM._replace(batch=7): "lax"}, seconds=times)
    assert repr(measured) == TABLE.strip()
    assert (measured.seconds[PROBLEM]["taps"], len(measured.seconds)) == (0.00123456, 1)
    # what was measured is no part of the choice, and is saved with it
    same = Policy(measured)
    assert (measured, hash(measured)) == (same, hash(same))
    measured.save(tmp_path / "policy.json")
    assert Policy.load(tmp_path / "policy.json").seconds == measured.seconds
    assert repr(Policy()) == "Policy of 0 choices"


def test_saved_and_loaded(tmp_path):
    wide = ConvSpec((1, 2), (1, 1), ((0, 1), (-1, 2)), 1, (8, 9), (3, 2))
    policy = Policy({**POLICY, PROBLEM._replace(contraction="kernel", spec=wide): "taps"})
    policy.save(tmp_path / "policy.json")
    assert Policy.load(tmp_path / "policy.json") == policy


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "'format'"),
        ('{"format": 7}', "its format is 7, not 'jaxconv policy 1'"),
        ('{"format": "jaxconv policy 1", "entries": [{"method": "lax"}]}', "'spec'"),
        ("taps", "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_text_that_is_no_policy(text, reason):
    message = re.escape(f"Policy.from_json: this is not a policy: {reason}")
    with pytest.raises(ValueError, match=f"^{message}$"):
        Policy.from_json(text)


def test_a_policy_goes_before_the_rules_but_not_before_the_user():
    assert select(PROBLEM, policy=POLICY) == Choice("loops", "chosen by the policy")
    assert select(PROBLEM, "lax", POLICY) == Choice("lax", "asked for")
    other = dataclasses.replace(SPEC, groups=1)
    assert select(PROBLEM._replace(spec=other), policy=POLICY) == select(
        PROBLEM._replace(spec=other)
    )
    unknown = select(PROBLEM, policy=Policy({PROBLEM: "magic"}))
    assert unknown == Choice("lax", "there is no method magic")


KINDS = {"H100": "NVIDIA H100 80GB HBM3", "v5e": "TPU v5 lite"}


def anywhere(platform):
    x, w = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    spec = ConvSpec((1, 1), (1, 1), ((0, 0),) * 2, 1, (8, 8), (3, 3))
    return x, w, Problem.of("output", x, w, spec, dtype=x.dtype, platform=platform)


def in_a_process_with(monkeypatch, *kinds):
    """Let devices of every platform but the CPU be of these kinds."""

    def devices(*, backend):
        if not kinds:
            raise RuntimeError(f"Unknown backend {backend}")
        return [SimpleNamespace(device_kind=kind) for kind in kinds]

    monkeypatch.setattr(jax, "local_devices", devices)


@pytest.mark.parametrize(
    ("platform", "compiler"), [("gpu", "cuda"), ("gpu", "rocm"), ("tpu", "tpu")]
)
def test_an_entry_for_a_kind_of_device(monkeypatch, platform, compiler):
    """It holds in programs for devices of that kind, and in no others."""
    x, w, problem = anywhere(platform)
    mine, other = (problem._replace(device_kind=kind) for kind in KINDS.values())
    policy = Policy({mine: "fft", other: "products", problem: "taps"})
    traces = {"fft": "stablehlo.fft", "products": "stablehlo.dot_general"}
    cases = (
        ((mine.device_kind,), policy, "fft"),
        ((other.device_kind,), policy, "products"),
        (("another",), policy, "taps"),
        (("another",), Policy({mine: "fft"}), "lax"),
        ((mine.device_kind, "another"), policy, "taps"),
        ((), policy, "taps"),
        # the kind is unknown: what all kinds have in the policy
        ((), Policy({mine: "fft"}), "fft"),
        ((), Policy({mine: "fft", other: "fft"}), "fft"),
        ((), Policy({mine: "fft", other: "products"}), "lax"),
    )
    for kinds, given, want in cases:
        in_a_process_with(monkeypatch, *kinds)

        def f(x, w, given=given):
            return jaxconv.conv(x, w, policy=given)

        [row] = explain(f, x, w, platform=platform)
        assert row.method == want
        assert (row.reason == "chosen by the policy") == (want != "lax")
        lowered = jax.jit(f).trace(x, w).lower(lowering_platforms=(compiler,)).as_text()
        for method, trace in traces.items():
            assert (trace in lowered) == (method == want), (kinds, want)
        assert ("stablehlo.convolution" in lowered) == (want == "lax")


def test_an_exported_program_is_for_every_kind(monkeypatch):
    """Not for that of the process that exports it alone."""
    x, w, problem = anywhere("gpu")
    mine, other = (problem._replace(device_kind=kind) for kind in KINDS.values())
    in_a_process_with(monkeypatch, mine.device_kind)
    for policy, want in (
        (Policy({mine: "fft"}), True),
        (Policy({mine: "fft", other: "lax"}), False),
    ):
        f = jax.jit(lambda x, w, policy=policy: jaxconv.conv(x, w, policy=policy))
        exported = jax.export.export(f, platforms=["cuda"])(x, w)
        assert ("stablehlo.fft" in exported.mlir_module()) == want


def test_kinds_of_devices_are_saved_and_printed(monkeypatch):
    mine = PROBLEM._replace(platform="gpu", device_kind="NVIDIA H200")
    policy = Policy({mine: "taps", PROBLEM: "loops"})
    assert Policy.from_json(policy.to_json()) == policy
    head, row, _ = repr(policy).splitlines()[1:]
    assert head.startswith("device       contraction")
    assert row.startswith("NVIDIA H200  output")


def test_what_is_tuned_is_for_the_kind_of_the_device(monkeypatch):
    """Nothing is timed: a CPU's times stand for the device's."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    in_a_process_with(monkeypatch, "NVIDIA H200")
    timed = {"lax": 2.0, "taps": 1.0}
    monkeypatch.setattr("jaxconv._transforms.tune.medians", lambda *_: timed)
    assert tune(ours, X, W) == Policy(
        {PROBLEM._replace(platform="gpu", device_kind="NVIDIA H200"): "taps"}
    )


def test_everyone_obeys():
    assert methods(lambda x, w: ours(x, w, policy=POLICY), X, W) == ["loops"]
    for f in (ours, theirs, jax.jit(ours)):
        assert methods(accelerate(f, policy=POLICY), X, W) == ["loops"]
    # what was said in the call stays said
    said = accelerate(lambda x, w: ours(x, w, method="taps"), policy=POLICY, method="lax")
    assert explain(said, X, W) == explain(lambda x, w: ours(x, w, method="taps"), X, W)
    sizes = {"strides": 2, "padding": 1, "feature_group_count": 3, "policy": POLICY}
    module = linen.Conv(9, (3,), **sizes)
    variables = jax.eval_shape(module.init, jax.random.key(0), X)
    assert methods(module.apply, variables, X) == ["loops"]
    assert methods(layers.Conv(6, 9, (3,), rngs=nnx.Rngs(0), **sizes), X) == ["loops"]


def test_gradients_and_static_arguments_carry_it():
    def loss(x, w, policy):
        return (ours(x, w, policy=policy) ** 2).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    kernel, images = (PROBLEM._replace(contraction=c) for c in ("kernel", "input"))
    everywhere = Policy(dict.fromkeys((PROBLEM, kernel, images), "loops"))
    traced = jax.make_jaxpr(gradient, static_argnums=2)(X, W, everywhere)
    assert str(traced).count("loops") > 0
    want = gradient(X, W, None)
    jax.tree.map(np.testing.assert_allclose, gradient(X, W, everywhere), want)
    assert methods(lambda x, w: jax.grad(loss, (0, 1))(x, w, everywhere), X, W) == ["loops"] * 3


def test_tune_measures_every_problem_once():
    def network(x, w):
        x = lax.scan(lambda x, _: (jnp.sin(ours(x, w)[:, :, :6].repeat(2, 1)), None), x, None, 2)[0]
        return theirs(x, w).sum() + ours(x, w).sum()

    policy = tune(jax.grad(network, (0, 1)), X, W, seconds=0.005)
    assert {problem.contraction for problem in policy} == {"output", "input", "kernel"}
    assert PROBLEM in policy
    assert set(policy.values()) <= set(METHODS) - {"loops"}
    assert tune(jnp.sin, X) == Policy()
    assert set(policy.seconds) == set(policy)
    for problem, method in policy.items():
        times = policy.seconds[problem]
        assert {"lax", method} <= set(times)
        assert times[method] <= 1.03 * min(times.values())
    tuned = accelerate(network, policy=policy)
    np.testing.assert_allclose(tuned(X, W), network(X, W), rtol=1e-5)


def test_no_method_is_timed_or_chosen_where_it_refuses(monkeypatch):
    refuses = lambda problem: f"no {problem.dtype} for {problem.contraction}"
    monkeypatch.setitem(METHODS, "taps", dataclasses.replace(METHODS["taps"], refuses=refuses))
    kernel = PROBLEM._replace(contraction="kernel")
    assert refusal(kernel, "taps") == "no float32 for kernel"
    assert select(kernel, "taps") == Choice("lax", "no float32 for kernel")
    policy = tune(jax.grad(lambda w: ours(X, w).sum()), W, seconds=0.005)
    assert "taps" not in policy.values()


def test_tune_goes_on_without_a_method_that_the_device_refuses(monkeypatch):
    def fails(*_, **__):
        raise NotImplementedError("no such instruction\nand more")

    broken = dataclasses.replace(
        METHODS["taps"], contractions=dict.fromkeys(METHODS["taps"].contractions, fails)
    )
    monkeypatch.setitem(METHODS, "taps", broken)
    warned = r"^the method taps fails on this device and is left out: NotImplementedError: no such "
    with pytest.warns(RuntimeWarning, match=warned + "instruction$"):
        policy = tune(ours, X, W, seconds=0.005)
    assert {"lax"} <= set(policy.seconds[PROBLEM])
    assert "taps" not in policy.seconds[PROBLEM]
    with pytest.warns(RuntimeWarning, match=warned):
        rows = jaxconv.explain(ours, X, W, seconds=0.005)
    assert "taps" not in rows[0].seconds
    for name, method in METHODS.items():
        without = dataclasses.replace(
            method, contractions=dict.fromkeys(method.contractions, fails)
        )
        monkeypatch.setitem(METHODS, name, without)
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(RuntimeError, match=r"^no method can compute"),
    ):
        tune(ours, X, W, seconds=0.005)


def test_what_would_be_laxs_own_method_by_another_name_is_refused():
    line = PROBLEM._replace(contraction="input", spec=dataclasses.replace(SPEC, stride=(1,)))
    assert select(PROBLEM, "slabs") == Choice("lax", "slabs needs rank 3 or more")
    assert select(line, "phases") == Choice("lax", "phases needs a stride above 1")
    volume = ConvSpec((1, 1, 2), (1,) * 3, ((1, 1),) * 3, 1, (6, 6, 6), (3, 3, 3))
    for method in ("slabs", "phases"):
        strided = PROBLEM._replace(contraction="input", spec=volume)
        assert select(strided, method) == Choice(method, "asked for")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tune(3), TypeError, "tune: f=3 must be a function, not int"),
        (
            lambda: tune(ours, X, W, seconds=0),
            ValueError,
            "tune: seconds=0 must be a positive number",
        ),
        (
            lambda: Policy({"conv": "lax"}),
            TypeError,
            "Policy: entries must map a jaxconv.Problem to a method's name, not 'conv' to 'lax'",
        ),
        *(
            (
                call,
                TypeError,
                f"{caller}: policy must be a jaxconv.Policy or None, not dict; jaxconv.tune "
                "makes one",
            )
            for caller, call in {
                "conv": lambda: ours(X, W, policy={}),
                "conv_transpose": lambda: jaxconv.conv_transpose(X, W[:, :, :6], policy={}),
                "accelerate": lambda: accelerate(ours, policy={}),
            }.items()
        ),
    ],
)
def test_mistakes(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


def test_products_of_integers_are_not_expected():
    spec = ConvSpec((1, 1), (1, 1), ((0, 0),) * 2, 1, (56, 56), (1, 1))
    problem = Problem("output", spec, 4, 64, 256, "float32", "cpu")
    assert select(problem, ffi_unavailable_reason=EXPORTED).method == "columns"
    assert select(problem._replace(dtype="int32"), ffi_unavailable_reason=EXPORTED).method == "lax"
