"""Rules by the kind of device: constants in a file are all that a kind needs to be chosen for."""

import functools
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CONTRACTIONS, RESULT, Case, assert_matches
from typer.testing import CliRunner

from jaxconv import MachineProfile, Policy, accelerate, conv, explain
from jaxconv._core import machine
from jaxconv._core.dispatch import costs
from jaxconv._core.dispatch.choose import EXPORTED, expected, select
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.methods import measured
from jaxconv._core.methods.measured import BY_DEVICE, CPU
from jaxconv.bench import fit, regret
from jaxconv.cli import info
from jaxconv.cli.app import app

KIND, OTHER = "TPU v5 lite", "TPU v6 lite"
X = jnp.ones((2, 9, 8, 4))
W = jnp.ones((3, 3, 1, 4))
# dense layers are lax's, depthwise ones are not
SECONDS = {
    "lax": {"output": {"call": 1e-5}},
    "products": {"output": {"call": 2e-5}},
    "taps": {"output": {"call": 1e-6}},
}


def depthwise(x, w):
    return conv(x, w, groups=4)


@pytest.fixture
def known(tmp_path, monkeypatch):
    """One kind of TPU was measured, and is in this process."""
    content = {
        "about": ["a test"],
        "measured": {"device": KIND, "date": "2000-01-01", "jax": "0"},
        "margins": {"lax": 0.9},
        "seconds": SECONDS,
    }
    (tmp_path / "v5e.json").write_text(json.dumps(content))
    [(kind, found)] = measured.read(tmp_path).items()
    monkeypatch.setitem(BY_DEVICE, kind, found)
    in_a_process_with(monkeypatch, KIND)
    return tmp_path


def in_a_process_with(monkeypatch, *kinds):
    devices = [SimpleNamespace(device_kind=kind) for kind in kinds]
    monkeypatch.setattr(jax, "local_devices", lambda *, backend: devices)


def lowered(f, platform="tpu"):
    return jax.jit(f).trace(X, W).lower(lowering_platforms=(platform,)).as_text()


def chosen(f, platform="tpu"):
    [row] = explain(f, X, W, platform=platform)
    return row.method, row.reason


def test_what_is_expected_to_be_fastest_there_runs_there(known, monkeypatch):
    f = depthwise
    assert chosen(f) == ("taps", f"expected to be the fastest on {KIND}")
    assert "stablehlo.convolution" not in lowered(f)
    assert chosen(accelerate(f)) == chosen(f)
    for kinds in ((OTHER,), (KIND, OTHER), ()):
        in_a_process_with(monkeypatch, *kinds)
        # new functions: what was traced before is kept
        assert chosen(lambda x, w: f(x, w)) == ("lax", "XLA's own convolution")
        assert "stablehlo.convolution" in lowered(lambda x, w: f(x, w))


def test_other_platforms_and_programs_for_other_processes_keep_their_rules(known):
    exported = jax.export.export(jax.jit(depthwise), platforms=["tpu"])(X, W)
    assert "stablehlo.convolution" in exported.mlir_module()
    spec = explain(depthwise, X, W, platform="cpu")[0]
    assert spec.reason.endswith("a CPU")


def test_what_was_not_measured_is_lax(known, monkeypatch):
    """A contraction without constants, and unknown sizes."""
    [_, row] = explain(jax.grad(lambda w: depthwise(X, w).sum()), W, platform="tpu")
    assert (row.contraction, row.method) == ("kernel", "lax")
    problem, _ = regret.problem(0, 0)
    there = problem._replace(platform="tpu", device_kind=KIND)
    assert expected(there)["taps"] == pytest.approx(1e-6)
    assert expected(there._replace(contraction="kernel")) == {}
    assert expected(there._replace(device_kind=OTHER)) == {}
    # a CPU's profile is not for this device
    slow = MachineProfile(factors=(("taps", "output", "single", 1e6),))
    assert select(there, policy=Policy(profile=slow)).method == "taps"


def test_its_default_method_keeps_what_is_nearly_as_fast(known, monkeypatch):
    near = {**SECONDS, "taps": {"output": {"call": 0.95e-5}}}
    monkeypatch.setitem(BY_DEVICE, KIND, BY_DEVICE[KIND]._replace(seconds=near))
    assert chosen(depthwise) == ("lax", f"nothing is expected to be clearly faster on {KIND}")


def test_a_file_that_is_fitted_on_a_device_is_one_to_choose_by(tmp_path, monkeypatch):
    """From rows of the regret suite to choices, without a line of code."""
    monkeypatch.setattr(fit, "FOLDS", 2)
    rows = []
    for index in range(0, 60, 3):
        problem, _ = regret.problem(3, index)
        there = problem._replace(platform="gpu", device_kind="NVIDIA H200")
        times = {"lax": 1e-5 + 1e-9 * problem.inputs, "taps": 1e-6}
        rows.append(regret._features(there) | {"times": times, "once": {}})
        assert regret.problem_of(rows[-1]) == there
    machine = {"platform": "gpu", "device_kind": "NVIDIA H200", "date": "2000-01-01"}
    text = fit.written(rows, machine | {"versions": {"jax": "0"}})
    assert "the others random (NVIDIA H200, 2000-01-01, jax 0)" in text
    assert "plugin" not in text
    (tmp_path / "H200.json").write_text(text)
    [(kind, found)] = measured.read(tmp_path).items()
    assert kind == "NVIDIA H200"
    monkeypatch.setitem(BY_DEVICE, kind, found)
    in_a_process_with(monkeypatch, kind)
    assert chosen(depthwise, "gpu") == ("taps", f"expected to be the fastest on {kind}")
    assert "stablehlo.convolution" not in lowered(depthwise, "cuda")


def test_the_files_of_the_package():
    """One a kind of device, with what it was measured on; a CPU's is there."""
    assert CPU in BY_DEVICE
    for kind, of in BY_DEVICE.items():
        assert {"device", "date", "jax"} <= of.facts.keys(), kind
        numbers = [c for ways in of.seconds.values() for t in ways.values() for c in t.values()]
        assert np.min(numbers) > 0
        assert all(0 < margin <= 1 for margin in of.margins.values())


INTEGERS = (
    Case("strided", (2, 7, 6, 4), (3, 2, 2, 6), {"stride": 2, "groups": 2}),
    Case("volume", (1, 4, 5, 4, 2), (2, 2, 2, 2, 3), {"padding": 1, "stride": (2, 1, 1)}),
    Case("depthwise line", (2, 9, 4), (3, 1, 4), {"dilation": 2, "groups": 4}),
)


@pytest.mark.cover
@pytest.mark.parametrize("method", ["auto", "fastest", "lax", "phases", "slabs", "widened", "fft"])
@pytest.mark.parametrize("case", INTEGERS, ids=str)
def test_gpus_get_no_convolution_of_integers(case, method):
    """XLA has none there (jax#7637), and has them on TPUs and CPUs."""
    for contraction in CONTRACTIONS:
        for dtype in ("int8", "uint8", "int32") if method == "auto" else ("int32",):
            a, b = (jnp.asarray(array) for array in case.operands(contraction, dtype))
            how = {"spec": case.spec, "dtype": RESULT.get(dtype, dtype), "method": method}
            f = jax.jit(functools.partial(contract, contraction, **how))
            exported = jax.export.export(f, platforms=["cuda"])(a, b)
            assert "stablehlo.convolution" not in exported.mlir_module()
            everywhere = jax.export.export(f, platforms=["cpu", "cuda", "tpu"])(a, b)
            assert_matches(everywhere.call(a, b), contraction, a, b, case.spec)
    [row] = explain(f, a, b, platform="gpu")
    assert (row.method, row.reason) == ("taps", "XLA has no convolution of integers on GPUs")
    if method == "auto":
        for platform, want in (("tpu", True), ("cuda", False)):
            text = f.trace(a, b).lower(lowering_platforms=(platform,)).as_text()
            assert ("stablehlo.convolution" in text) == want
        [row] = explain(f, a, b, platform="tpu")
        assert (row.method, row.reason) == ("lax", "XLA's own convolution")


def test_info_says_which_devices_were_measured(known, monkeypatch):
    def printed():
        return " ".join(CliRunner().invoke(app, ["info"]).stdout.split())

    assert f"expected times on {KIND}: measured 2000-01-01 with jax 0" in printed()
    monkeypatch.delitem(BY_DEVICE, KIND)
    assert "other devices: none was measured" in printed()


def test_a_kind_of_cpu_has_constants_of_its_own(monkeypatch):
    """Not in programs for other processes; methods that were not fitted there keep theirs."""
    problem, _ = regret.problem(0, 0)
    dear = {name: {"output": {"call": 1e3}} for name in BY_DEVICE[CPU].seconds}
    apart = {**dear, "taps": {"output": {"call": 1e-9}}}
    monkeypatch.setitem(BY_DEVICE, "cpu avx2", BY_DEVICE[CPU]._replace(seconds=apart))
    monkeypatch.setattr(costs, "cpu_kind", lambda: "avx2")
    assert select(problem, ffi_unavailable_reason=regret.NO_PLUGIN).method == "taps"
    assert expected(problem)["taps"] == pytest.approx(1e-9)
    assert expected(problem)["lax"] == pytest.approx(1e3)
    there = select(problem, ffi_unavailable_reason=EXPORTED)
    monkeypatch.setattr(costs, "cpu_kind", lambda: "")
    assert there == select(problem, ffi_unavailable_reason=EXPORTED)
    assert expected(problem)["lax"] < 1
    monkeypatch.setattr(costs, "cpu_kind", lambda: "avx2")
    monkeypatch.delitem(apart, "lax")
    assert expected(problem)["lax"] < 1


def test_info_is_of_the_kind_of_cpu_that_it_runs_on(monkeypatch):
    facts = {**BY_DEVICE[CPU].facts, "date": "2001-01-01"}
    monkeypatch.setitem(BY_DEVICE, "cpu avx2", BY_DEVICE[CPU]._replace(facts=facts))
    for kind in ("avx2", ""):
        monkeypatch.setattr(info, "cpu_kind", lambda kind=kind: kind)
        shown = CliRunner().invoke(app, ["info"]).stdout
        assert ("constants, measured 2001-01-01" in shown) == (kind == "avx2")
        assert "other devices: none was measured" in shown


@pytest.mark.parametrize(
    ("flags", "kind"), [("avx2", "avx2"), ("avx2 avx512f", ""), ("", ""), ("asimd", "")]
)
def test_the_kind_of_a_cpu(monkeypatch, flags, kind):
    monkeypatch.setattr(machine, "cpu_flags", flags.split)
    machine.cpu_kind.cache_clear()
    try:
        assert machine.cpu_kind() == kind
    finally:
        machine.cpu_kind.cache_clear()
