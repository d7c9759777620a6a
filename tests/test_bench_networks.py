"""The suite of whole networks and its profiles: equal networks, values, arithmetic. No times."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_here import torch
from typer.testing import CliRunner

from jaxconv._core.methods import onednn
from jaxconv.bench import tables
from jaxconv.bench.measure import contest
from jaxconv.bench.networks import in_flax, steps, torch_steps
from jaxconv.bench.networks.definitions import NETWORKS, Network
from jaxconv.bench.profiles import kinds
from jaxconv.bench.profiles.operations import operations
from jaxconv.bench.profiles.torch_operations import Ran, kind, totals
from jaxconv.bench.profiles.traces import Event, Span, spans, sweep
from jaxconv.cli import load
from jaxconv.cli.app import app

HLO = """
HloModule jit_step, is_scheduled=true

%fused_computation (param_0: f32[2,8]) -> f32[8] {
  %param_0 = f32[2,8]{1,0} parameter(0)
  ROOT %reduce.1 = f32[8]{0} reduce(%param_0), dimensions={0}, to_apply=%region
}

%fused_computation.1 (param_0.1: f32[2,8]) -> f32[8,2] {
  %param_0.1 = f32[2,8]{1,0} parameter(0)
  ROOT %transpose.1 = f32[8,2]{1,0} transpose(%param_0.1), dimensions={1,0}
}

%fused_computation.2 (param_0.2: f32[2,8]) -> f32[4,8] {
  %constant.1 = f32[] constant(0)
  ROOT %pad.1 = f32[4,8]{1,0} pad(%param_0.2, %constant.1), padding=1_1x0_0
}

%fused_computation.3 (param_0.3: f32[2,8]) -> f32[2,8] {
  %slice.1 = f32[2,8]{1,0} slice(%param_0.3), slice={[0:2], [0:8]}
  ROOT %maximum.1 = f32[2,8]{1,0} maximum(%slice.1, %param_0.3)
}

ENTRY %main (x: f32[2,8]) -> (f32[8], f32[8,2]) {
  %ynn_fusion = f32[8]{0} fusion(%x), kind=kCustom, calls=%fused_computation, \
metadata={op_name="jit(step)/jvp()/reduce_sum"}
  %copy_fusion = f32[8,2]{1,0} fusion(%x), kind=kLoop, calls=%fused_computation.1, \
backend_config={"outer_dimension_partitions":["2","3"]}
  %pad_fusion = f32[4,8]{1,0} fusion(%x), kind=kLoop, calls=%fused_computation.2
  %max_fusion = f32[2,8]{1,0} fusion(%x), kind=kLoop, calls=%fused_computation.3
  %ffi_call.1 = bf16[2,8]{1,0} custom-call(%x), custom_call_target="jaxconv_onednn_output", \
metadata={op_name="jit(step)/jvp(Network)/conv1/ffi_call"}
  %ffi_call.2 = f32[2,8]{1,0} custom-call(%x), custom_call_target="jaxconv_onednn_output", \
metadata={op_name="jit(step)/transpose(jvp(Network))/conv1/ffi_call"}
  %ffi_call.3 = f32[2,8]{1,0} custom-call(%x), custom_call_target="jaxconv_onednn_input"
  %ffi_call.4 = f32[2,8]{1,0} custom-call(%x), custom_call_target="jaxconv_onednn_kernel"
  %convolution.1 = f32[2,8]{1,0} convolution(%x, %x), window={size=1}
  %dot.1 = f32[2,2]{1,0} dot(%x, %x)
  %while.1 = (s32[], /*index=1*/f32[2,8]{1,0}) while(%tuple), condition=%c, body=%b
}
"""


def define(layers, x):
    """Every layer there is, on a few pixels; smooth, so that rounding stays rounding."""
    # small numbers, so that epsilon counts in norms; the gradient of this bias is zero
    h = layers.batch_norm(layers.conv(x, 4, 1, bias=True) / 64)
    h = layers.conv_norm(h, 8, 3, "silu", stride=2)
    a = layers.layer_norm(layers.conv(h, 8, 3, groups=4, bias=True) / 64)
    h = h + layers.dense(layers.apply("gelu", layers.dense(a, 16)), 8)
    gate = layers.apply("sigmoid", layers.conv(layers.mean(h, keep=True), 8, 1, bias=True))
    up = layers.conv_transpose(h * gate, 4)
    h = layers.max_pool(layers.conv(layers.concatenate(up, x), 4, 3))
    return layers.dense(layers.mean(h), 5)


TINY = Network(name="tiny", define=define, image=(8, 8, 3))
TWO_LAYERS = Network(
    name="two layers",
    define=lambda layers, x: layers.conv(layers.conv_norm(x, 4, 3), 4, 3),
    image=(6, 6, 4),
)
WITH_RELUS = Network(
    name="with ReLUs",
    define=lambda layers, x: layers.conv(
        layers.conv_norm(layers.conv_norm(x, 8, 3), 8, 3, stride=2, groups=2), 4, 3, bias=True
    ),
    image=(16, 16, 3),
)
PEERS = ["lax", "torch", "torch.compile", "float32"]


pytestmark = pytest.mark.usefixtures("as_a_command")


def _case(**options):
    return steps.Step(**{"network": TINY, "written": "linen", "batch": 2, "quick": True} | options)


def _bench(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


@pytest.fixture
def uncompiled(monkeypatch):
    """torch.compile takes long; what it returns is called in the place of the module."""
    monkeypatch.setattr(torch, "compile", lambda module: lambda x: module(x))


def test_the_table_is_well_formed():
    assert len({(case.name, case.mode) for case in steps.STEPS}) == len(steps.STEPS)
    assert {case.network for case in steps.STEPS} == set(NETWORKS)
    assert {case.mode for case in steps.STEPS if case.quick} > {"training step", "inference"}
    groups = [values for values, _ in itertools.groupby(case.values for case in steps.STEPS)]
    assert len(groups) == len(set(groups)), "float64 values are computed once"


@pytest.mark.parametrize(
    ("network", "written", "dtype", "training", "others"),
    [
        (TINY, "nnx", "float32", True, {"torch.compile"}),
        (TINY, "linen", "float32", False, set()),
        (TWO_LAYERS, "linen", "bfloat16", True, {"float32"}),
        (TWO_LAYERS, "nnx", "bfloat16", False, {"float32"}),
    ],
)
def test_a_network_is_the_same_everywhere(network, written, dtype, training, others, uncompiled):
    what = {"network": network, "written": written, "dtype": dtype, "training": training}
    case = _case(**what, compiled="torch.compile" in others)
    expected = steps.exact(case)
    assert {a.dtype for a in expected.values()} == {np.dtype("float64")}
    if network is TINY and training:
        assert [name for name, a in expected.items() if not a.any()] == ["conv1/bias"]
    programs = steps.programs(case, method="auto", peers=PEERS, quick=False)
    found = contest(programs, expected, budget=1e-9, compiles=1, tolerance=case.tolerance)
    assert {m.peer for m in found.values()} == {"jaxconv", "lax", "torch"} | others
    for label, measured in found.items():
        assert measured.left_out is None, label
        narrow = dtype == "bfloat16" and measured.peer != "float32"
        assert (1e-4 if narrow else 0) < measured.error < (0.1 if narrow else 2e-5), label


def test_signs_of_relus_are_all_that_makes_gradients_uncertain(monkeypatch):
    """With the signs that float64 finds gradients are off by rounding, which `TOLERANCES` cites."""
    usual, signs = in_flax._FlaxLayers.apply, []

    def noted(layers, function, x):
        signs.append(x > 0)
        return usual(layers, function, x)

    variables, x, _ = steps.arrays(_case(network=WITH_RELUS))
    with jax.enable_x64(True), monkeypatch.context() as patched:
        patched.setattr(in_flax._FlaxLayers, "apply", noted)
        forward = in_flax.LinenNetwork(WITH_RELUS).apply
        wide = jax.tree.map(lambda a: jnp.asarray(a, np.float64), (variables, x))
        found = jax.jit(lambda v, x: (forward(v, x, mutable=["batch_stats"]), signs))(*wide)[1]
    for dtype, least, most in (("float32", 0, 1e-5), ("bfloat16", 1e-3, 0.1)):
        case = _case(network=WITH_RELUS, dtype=dtype)
        (ours,) = steps.programs(case, method="auto", peers=[], quick=True)
        given = iter(map(np.asarray, found))
        with monkeypatch.context() as patched:
            take = lambda _, function, x: jnp.where(next(given), x, 0)
            patched.setattr(in_flax._FlaxLayers, "apply", take)
            result = ours.values(jax.jit(ours.function)(*ours.arguments))
        assert next(given, None) is None
        exact = steps.exact(case)
        errors = [np.abs(result[k] - a).max() / np.abs(a).max() for k, a in exact.items()]
        assert least < max(errors) < most


def test_without_a_compiler_torch_compile_is_left_out(monkeypatch):
    monkeypatch.setattr(torch_steps.shutil, "which", lambda _: None)
    case = _case(written="nnx", training=False, compiled=True)
    programs = steps.programs(case, method="auto", peers=["torch.compile"], quick=False)
    assert [program.peer for program in programs] == ["jaxconv", "torch.compile"]
    found = contest(programs[1:], {}, budget=1e-9)["torch.compile"]
    assert found.left_out == "failed: RuntimeError: torch.compile needs a C++ compiler"
    programs = steps.programs(case, method="auto", peers=["torch.compile"], quick=True)
    assert len(programs) == 1


def test_the_command_measures_steps(tmp_path, monkeypatch):
    case = _case(network=TWO_LAYERS, dtype="bfloat16")
    monkeypatch.setattr(steps, "STEPS", (case, _case()))
    file = tmp_path / "steps.json"
    ways = ("--budget", "0.001", "--against", "lax,float32", "--json", file)
    result = _bench("--suite", "steps", "--only", "two layers", *ways)
    assert result.exit_code == 0, result.output
    assert "memory / lax" in result.stdout
    found = json.loads(file.read_text())
    (record,) = found["records"]
    assert record["mode"] == "bfloat16 training step"
    assert set(record["ratios"]) == {"lax", "float32"}
    ours, plain = (record["contestants"][way] for way in ("jaxconv", steps.PLAIN))
    assert record["memory beside lax"] == ours["temporary_bytes"] / plain["temporary_bytes"]
    limits = {limit["limit"]: limit for limit in found["summary"]["limits"]}
    assert limits["steps: temporary memory beside plain Flax"]["of"] == 1
    means = found["summary"]["geometric_means"]["steps, bfloat16 training step"]
    assert means["lax"] == dict.fromkeys(("ratio", "worst"), record["ratios"]["lax"]) | {"cases": 1}


def _record(mode, torch_ratio):
    found = {"suite": "steps", "case": "a", "mode": mode, "ratios": {"torch": torch_ratio}}
    unmeasured = {"memory": None, "memory beside lax": None, "compile": {"ours": None, "lax": None}}
    return found | unmeasured | {"contestants": {}}


def test_the_goals_of_steps():
    modes = ["training step", "training step", "inference", "bfloat16 training step"]
    records = [*map(_record, modes, (0.5, 1.1, 0.9, 0.7))]
    found = tables.summary(records, plugin=True)["limits"]
    exceeded = {limit["limit"]: limit["exceeded"] for limit in found}
    assert exceeded["steps, training step: geometric mean beside torch"] == 0  # 0.74
    assert exceeded["steps, training step: every case beside torch"] == 1
    assert exceeded["steps, inference: geometric mean beside torch"] == 1
    assert exceeded["steps, bfloat16 training step: geometric mean beside torch"] == 0
    without = tables.summary(records, plugin=False)["limits"]
    assert not any(limit["limit"].startswith("steps") for limit in without)


def test_starts_and_ends_of_operations():
    """The ends count: of `a` by its event `end:`, of `b`, which has none, by its own."""
    events = [Event("end: a", 9, 10), Event("a", 0, 1), Event("b", 2, 6), Event("a", 12, 13)]
    events += [Event("end: a", 12, 13), Event("loop", 0, 20), Event("end: loop", 20, 21)]
    found = spans(events, left_out=["loop"])
    assert found == [Span("a", 0, 10), Span("b", 2, 6), Span("a", 12, 13)]
    # an end is missing: no end can be told from another
    found = spans([event for event in events if event != Event("end: a", 9, 10)], ["loop"])
    assert found == [Span("a", 0, 1), Span("b", 2, 6), Span("a", 12, 13)]


def test_moments_are_divided_among_what_runs():
    """A alone for 2, a and b for 4, a alone for 4, nothing for 2, b alone for 2."""
    found = sweep([Span("a", 0, 10), Span("b", 2, 6), Span("b", 12, 14)])
    assert found.exclusive == {"a": 2 + 4 / 2 + 4, "b": 4 / 2 + 2}
    assert found.at_once == {0: 2, 1: 8, 2: 4}
    assert found.beside == {"a": (6 * 1 + 4 * 2) / 10, "b": (4 * 2 + 2 * 1) / 6}
    assert (found.idle, found.mean_at_once) == (2 / 14, 16 / 14)
    assert (sweep([]).idle, sweep([]).mean_at_once) == (0, 0)


def test_what_an_operation_is():
    found = operations(HLO)
    expected = {
        "ynn_fusion": kinds.REDUCTION,
        "copy_fusion": kinds.COPY,
        "pad_fusion": kinds.SLICE,
        "max_fusion": kinds.ELEMENTWISE,
        "ffi_call.1": kinds.FORWARD,
        "ffi_call.2": kinds.OF_X,
        "ffi_call.3": kinds.FORWARD,
        "ffi_call.4": kinds.OF_KERNEL,
        "convolution.1": kinds.OF_XLA,
        "dot.1": kinds.MATRIX,
    }
    assert {name: found[name].kind for name in expected} == expected
    call = found["ffi_call.1"]
    assert (call.result, call.computes) == ("bf16[2,8]", "jvp(Network)/conv1/ffi_call")
    parts = [found[name].parts for name in ("copy_fusion", "max_fusion", "ynn_fusion", "dot.1")]
    assert parts == [6, 1, None, None]
    assert found["while.1"].result == "(s32[], f32[2,8])"
    assert [name for name in found if found[name].holds_others] == ["while.1"]


@pytest.mark.parametrize(
    ("name", "of_kind"),
    [
        ("aten::mkldnn_convolution", kinds.FORWARD),
        ("aten::_slow_conv2d_forward", kinds.FORWARD),
        ("aten::convolution_backward", kinds.BACKWARD),
        ("aten::native_batch_norm", kinds.NORM),
        ("aten::native_layer_norm_backward", kinds.NORM_BACKWARD),
        ("aten::addmm", kinds.MATRIX),
        ("aten::mkldnn_linear", kinds.MATRIX),
        ("aten::max_pool2d_with_indices_backward", kinds.POOLING),
        ("aten::sum", kinds.REDUCTION),
        ("aten::threshold_backward", kinds.ELEMENTWISE),
        ("aten::add_", kinds.ELEMENTWISE),
        ("aten::cat", kinds.COPY),
        ("aten::empty", kinds.OTHER),
        ("torch::autograd::AccumulateGrad", kinds.OTHER),
    ],
)
def test_the_kinds_of_torchs_operators(name, of_kind):
    assert kind(name) == of_kind
    assert kind(name, ["aten::x", "Optimizer.step#SGD.step"]) == kinds.OPTIMIZER


def test_torchs_operators_are_summed_by_name_and_kind():
    ran = [Ran("aten::add_", (), 1.0), Ran("aten::add_", (), 2.0)]
    ran.append(Ran("aten::add_", ("Optimizer.step#SGD.step",), 4.0))
    seconds, runs = totals(ran)
    assert seconds == {("aten::add_", "elementwise"): 3.0, ("aten::add_", "optimizer"): 4.0}
    assert runs == {("aten::add_", "elementwise"): 2, ("aten::add_", "optimizer"): 1}


def test_a_profile_divides_a_step(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "STEPS", (_case(network=TWO_LAYERS),))
    monkeypatch.setattr("jaxconv.bench.profiles.profile.MOST", 3)
    file = tmp_path / "profile.json"
    method = "auto" if onednn.registered() is None else "onednn"
    result = _bench("--suite", "steps", "--profile", "--json", file, "--method", method)
    assert result.exit_code == 0, result.output
    assert "two layers, linen, batch 2, training step" in result.stdout
    (found,) = json.loads(file.read_text())["profiles"]
    ours, beside = found["jaxconv"], found["torch"]
    together = {}
    for name in ("jaxconv", "torch"):
        together[name] = sum(row["milliseconds"] for row in found[name]["operations"])
        assert sum(found[name]["kinds"].values()) == pytest.approx(together[name])
        assert set(found[name]["kinds"]) <= set(kinds.KINDS)
    # the time in which something runs, and the time in which nothing does
    running = ours["profiled milliseconds"] * (1 - ours["idle"])
    assert 0 < together["jaxconv"] == pytest.approx(running)
    assert {kinds.FORWARD, kinds.BACKWARD, kinds.NORM, kinds.OPTIMIZER} <= set(beside["kinds"])
    assert {row["runs"] for row in ours["operations"]} == {1}
    if method == "onednn":
        assert {kinds.FORWARD, kinds.OF_X, kinds.OF_KERNEL} <= set(ours["kinds"])
        assert any("conv2" in row["computes"] for row in ours["operations"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile"], "--profile is for --suite steps alone"),
        (["--profile", "--suite", "steps,models"], "--profile is for --suite steps alone"),
        (
            ["--profile", "--suite", "steps", "--plot", "a.png"],
            "--profile draws no figure: leave --plot out",
        ),
        (["--profile", "--suite", "steps", "--only", "none"], "no case of steps matches --only"),
    ],
)
def test_refusals(monkeypatch, arguments, message):
    monkeypatch.setattr(load, "busy_cores", lambda: 0.0)
    result = _bench(*arguments, "--against", "lax")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"jaxconv bench: {message}")
