"""The check for any device: a small run on CPU devices, and that each of its parts can fail."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from accelerator import check, policies, running, table, tolerances
from jax import lax

import jaxconv
from jaxconv._core import programs
from jaxconv._core.dispatch import primitive
from jaxconv._core.dispatch.choose import plan
from jaxconv._core.methods import METHODS, onednn

FIELDS = {field.name for field in dataclasses.fields(running.Record)}
HERE = running.Scope("cpu", "", small=True)


@pytest.fixture
def run(tmp_path):
    """Run the check on CPU devices and return its exit code and what it wrote, by name."""

    def checked(*only):
        file = tmp_path / "found.json"
        code = check.main(["--platform", "cpu", "--small", "--output", str(file), "--only", *only])
        return code, {row["name"]: row for row in json.loads(file.read_text())["records"]}

    return checked


@pytest.fixture
def fresh():
    """Compile anew, and let no program that was compiled in the test be used after it."""

    def forget():
        jax.clear_caches()
        programs.functions.clear()
        programs.programs.clear()

    forget()
    yield
    forget()


def test_a_small_run_on_cpu_devices(tmp_path, capsys):
    file = tmp_path / "found.json"
    assert check.main(["--platform", "cpu", "--small", "--output", str(file)]) == 0
    found = json.loads(file.read_text())
    assert (found["format"], found["platform"], found["running"]) == (running.FORMAT, "cpu", None)
    assert (found["device_kind"], found["devices"]) == ("cpu", 8)
    assert found["versions"]["jax"] == jax.__version__
    assert found["tolerances"]["bfloat16"] == {"highest": 8e-3, "default": 8e-3}
    records = found["records"]
    assert all(set(row) == FIELDS for row in records)
    assert {row["name"].split("/")[0] for row in records} == {
        *("table", "gradients", "vmap", "second", "policies"),
        *("layers", "learn", "tiles", "sharded"),
    }
    assert {row["method"] for row in records} >= {"auto", *METHODS}
    assert all(row["error_over_bound"] <= 1 for row in records if row["status"] == "ok")
    refused = {row["name"]: row["reason"] for row in records if row["status"] == "refused"}
    assert refused["policies/kinds"] == "devices of cpu have no kind, or several"
    assert all(refused.values())
    assert capsys.readouterr().out.splitlines()[-1].startswith("  refused ")


def test_names_of_a_whole_run(monkeypatch):
    """Every method, contraction and dtype, those of a method that is new in the table too."""
    new = dataclasses.replace(METHODS["taps"], name="new")
    monkeypatch.setitem(METHODS, "new", new)
    names = [each.name for each in check.checks(running.Scope("cpu", ""))]
    assert len(set(names)) == len(names)
    for method, contraction in (("new", c) for c in new.contractions):
        for dtype in (*cases.TOLERANCE, *cases.EXACT):
            assert f"table/{method}/{contraction}/{dtype}/highest" in names
        for part in ("gradients", "vmap", "second", "policies"):
            assert f"{part}/{method}/{contraction}" in names
    assert "table/new/output/float32/default" in names
    assert "tiles/new/highest" in names


def test_cases_of_a_check():
    """All in float32, some in other dtypes, all of them in a whole run, one in a small run."""

    def names(dtype, **size):
        scope = running.Scope("cpu", "", **size)
        few = dtype != "float32"
        found, reasons = table.served(scope, "columns", "output", dtype, few=few)
        return [case.name for case in found], reasons

    everything, reasons = names("float32")
    assert {*everything, *reasons} == {case.name for case in table.CASES}
    assert set(reasons.values()) == {"windows overlap"}
    assert names("bfloat16")[0] == everything[:3]  # of those for other dtypes it serves none
    assert names("bfloat16", whole=True) == (everything, reasons)
    assert len(names("float32", small=True)[0]) == 1
    found, _ = table.served(running.Scope("cpu", ""), "taps", "output", few=True)
    assert {case.name for case in found} == set(table.FEW)


def test_without_a_device_it_says_so_in_one_line(capsys):
    assert check.main([]) == check.NO_DEVICE
    assert capsys.readouterr().out == "nothing was checked: JAX has no device but the CPU here\n"
    assert check.main(["--platform", "cuda"]) == check.NO_DEVICE
    assert capsys.readouterr().out == "nothing was checked: JAX has no gpu here\n"
    assert check.main(["--platform", "cpu", "--only", "magic/"]) == 2
    assert capsys.readouterr().out.endswith("no check's name begins with magic/\n")


def test_it_runs_as_a_program(tmp_path):
    script, file = Path(check.__file__), tmp_path / "found.json"
    only = ["--only", "table/lax/output"]
    arguments = ["--platform", "cpu", "--small", "--output", file, *only]
    done = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert (found["devices"], found["counts"]["ok"]) == (check.CPU_DEVICES, 1)


def scaled(method, factor):
    """Return a method whose results are all so many times too large."""

    def wrong(compute):
        return lambda a, b, spec, **how: factor * compute(a, b, spec, **how)

    contractions = {name: wrong(compute) for name, compute in method.contractions.items()}
    return dataclasses.replace(method, contractions=contractions)


@pytest.mark.usefixtures("fresh")
def test_a_wrong_sign_is_seen(monkeypatch, run):
    monkeypatch.setitem(METHODS, "taps", scaled(METHODS["taps"], -1))
    code, found = run("table/taps/output", "table/loops/output")
    assert code == check.FAILED
    wrong = found["table/taps/output/float32/highest"]
    assert (wrong["status"], wrong["error_over_bound"] > 1e3) == ("failed", True)
    assert wrong["reason"].endswith("times its bound; beyond it: 2d everything; 1 case")
    assert found["table/loops/output/float32/highest"]["status"] == "ok"


@pytest.mark.usefixtures("fresh")
def test_wrong_methods_are_seen_wherever_they_are_used(monkeypatch, run):
    for name, method in METHODS.items():
        monkeypatch.setitem(METHODS, name, scaled(method, 2))
    parts = ("gradients/auto/output", "vmap/auto/input", "second/auto/kernel", "layers/", "learn/f")
    code, found = run(*parts, "tiles/", "policies/taps", "sharded/parallel/")
    assert code == check.FAILED
    assert len(found) >= 10, sorted(found)
    assert {name: row["status"] for name, row in found.items()} == dict.fromkeys(found, "failed")


@pytest.mark.usefixtures("fresh")
def test_an_exact_answer_that_is_off_is_seen(monkeypatch, run):
    right = jaxconv.learn.solve_kernel

    def off(*arguments):
        found = right(*arguments)
        return dataclasses.replace(found, kernel=found.kernel * (1 + 1e-5))

    monkeypatch.setattr(jaxconv.learn, "solve_kernel", off)
    _, found = run("learn/solve_kernel")
    assert found["learn/solve_kernel"]["status"] == "failed"


@pytest.mark.usefixtures("fresh")
def test_a_policy_that_is_ignored_is_seen(monkeypatch, run):
    monkeypatch.setattr(jaxconv.Policy, "choice", lambda *_: None)
    _, found = run("policies/", "tiles/policy")
    of_plugin = {f"policies/{name}/output" for name in ("onednn", "integers")}
    refused = {"policies/kinds", *(of_plugin if isinstance(onednn.plugin(), str) else ())}
    expected = {name: "refused" if name in refused else "failed" for name in found}
    assert {name: row["status"] for name, row in found.items()} == expected


@pytest.mark.usefixtures("fresh")
def test_a_policy_that_explain_alone_obeys_is_seen(monkeypatch, run):
    """The program's text says what runs."""
    deaf = lambda problem, method, policy, **how: plan(problem, method, None, **how)
    monkeypatch.setattr(primitive, "plan", deaf)
    _, found = run("policies/taps", "policies/gradients", "policies/accelerate")
    reasons = [row["reason"].removeprefix("AssertionError: ") for row in found.values()]
    assert reasons == ["not the program of the method", *[policies.OTHERS] * 2]


@pytest.mark.usefixtures("fresh")
def test_a_method_that_is_another_is_seen(monkeypatch, run):
    monkeypatch.setitem(
        METHODS, "taps", dataclasses.replace(METHODS["lax"], name="taps", refuses=lambda *_: None)
    )
    _, found = run("policies/taps")
    assert found["policies/taps/output"]["reason"] == "AssertionError: the program of lax"


KIND = "NVIDIA H200"


@pytest.fixture
def gpu(monkeypatch):
    """A scope of a GPU that programs are lowered for, and not run on."""
    devices = [SimpleNamespace(device_kind=KIND)]
    monkeypatch.setattr(jax, "local_devices", lambda *, backend: devices)
    return running.Scope("gpu", KIND, small=True)


def test_entries_for_kinds_of_devices(gpu):
    policies.check_kinds(gpu, compilers=["cuda"])


def test_a_kind_that_is_ignored_is_seen(monkeypatch, gpu):
    every = lambda policy, problem: policy._entries.get(problem._replace(device_kind=""))
    monkeypatch.setattr(jaxconv.Policy, "choice", every)
    with pytest.raises(AssertionError):
        policies.check_kinds(gpu, compilers=["cuda"])


@pytest.mark.usefixtures("fresh")
def test_halos_from_the_wrong_side_are_seen(monkeypatch, run):
    right = lax.ppermute
    turned = lambda x, names, pairs: right(x, names, [(b, a) for a, b in pairs])
    monkeypatch.setattr(lax, "ppermute", turned)
    code, found = run("sharded/jit/rows", "sharded/parallel/rows")
    assert code == check.FAILED
    assert {row["status"] for row in found.values()} == {"failed"}


@pytest.mark.usefixtures("fresh")
def test_halos_that_are_gathered_instead_are_seen(monkeypatch, run):
    """XLA alone partitions: the values may be right."""
    monkeypatch.setattr(primitive, "NOT_PARTITIONED_HERE", frozenset({"cpu"}))
    _, found = run("sharded/traffic/rows")
    assert found["sharded/traffic/rows"]["reason"].startswith("AssertionError: ")


def part(name, trace):
    zeros = np.zeros(2, np.float32)
    return table.Part(name, [zeros], trace, lambda found: float(found.max()))


def raising(message):
    def trace(_):
        raise jax.errors.JaxRuntimeError(message)

    return trace


LACKING = raising("UNIMPLEMENTED: Can't lower one or more integer convolutions to idioms of CuDNN.")


def test_what_xla_lacks_is_refused_and_hides_nothing():
    fine, wrong, broken = (
        part("fine", lambda x: x),
        part("wrong", lambda x: x + 3),
        part("broken", raising("INTERNAL: illegal address")),
    )
    lacking = part("lacking", LACKING)
    reason = running.LACKS["integer convolution"]
    found = table.worst(HERE, [fine, lacking])
    assert found == (0.0, f"worst: fine; 1 case; 1 left out: {reason}")
    assert table.worst(HERE, [fine, lacking, wrong])[0] == 3
    with pytest.raises(running.Refused, match="jax issue 7637"):
        table.worst(HERE, [lacking])
    # "auto" must have an answer
    with pytest.raises(AssertionError, match="jax issue 7637"):
        table.worst(HERE, [fine, lacking], must=True)
    with pytest.raises(RuntimeError, match=r"^broken: JaxRuntimeError: INTERNAL: "):
        table.worst(HERE, [fine, lacking, broken])
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        table.worst(HERE, [broken])


def test_what_is_a_failure():
    def status(run):
        return running.made(running.Check("name", run)).status

    def fail():
        raise ValueError("no")

    assert status(lambda: running.Outcome(1.0)) == "ok"
    assert status(lambda: running.Outcome(1.1)) == "failed"
    assert status(lambda: running.Outcome(np.nan)) == "failed"
    assert status(fail) == "failed"


def test_a_run_that_is_ended_leaves_what_it_had(tmp_path):
    def end():
        raise SystemExit

    checks = [
        running.Check("first", lambda: running.Outcome(np.inf)),
        running.Check("second", end),
    ]
    with pytest.raises(SystemExit):
        running.run(checks, {}, tmp_path / "found.json", lambda _: None)
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["running"], [row["name"] for row in found["records"]]) == ("second", ["first"])
    assert found["records"][0]["error_over_bound"] is None


def cut_to(bits):
    """Return float32 numbers with the bits after the first so many set to zero."""
    mask = np.uint32((0xFFFFFFFF << (23 - bits)) & 0xFFFFFFFF)
    return lambda array: (array.view(np.uint32) & mask).view(np.float32)


DEVICES = {"gpu": cut_to(10), "tpu": lambda array: array.astype(jnp.bfloat16).astype(np.float32)}


@pytest.mark.parametrize("platform", DEVICES)
@pytest.mark.parametrize("contraction", cases.CONTRACTIONS)
def test_tolerances_are_those_of_rounded_operands(platform, contraction):
    """Products of TF32, with bits dropped, and of bfloat16: beyond float32, within the default."""
    worst = []
    for case in cases.CASES:
        a, b = case.operands(contraction)
        rounded = (DEVICES[platform](array) for array in (a, b))
        found = cases.expected(contraction, *rounded, case.spec).astype(np.float32)
        given = "lax", found, contraction, a, b, case.spec
        assert tolerances.share(*given, platform=platform, precision="default") <= 1
        if a.size:
            assert tolerances.share(*given, platform=platform) > 20
            worst.append(tolerances.share(*given, platform=platform, precision="default"))
        elsewhere = tolerances.share(*given, platform="cpu", precision="default")
        assert elsewhere == tolerances.share(*given, platform="cpu")
    assert max(worst) > 0.4  # no wider than it need be


@pytest.mark.parametrize("platform", DEVICES)
def test_tolerances_of_complex_numbers(platform):
    """Three real convolutions of sums of the parts, as JAX writes a complex one on GPUs."""
    case, worst = cases.by_name("seed edge"), []  # of two terms

    def convolved(*operands):
        rounded = (DEVICES[platform](np.ascontiguousarray(array)) for array in operands)
        return cases.expected("output", *rounded, case.spec)

    for seed in range(100):
        x, w = (case.arrays("complex64", seed)[name] for name in ("x", "w"))
        first = convolved(x.real + x.imag, w.real)
        second = convolved(x.real, w.imag - w.real)
        third = convolved(x.imag, w.real + w.imag)
        found = (first - third + 1j * (first + second)).astype(np.complex64)
        given = "lax", found, "output", x, w, case.spec
        worst.append(tolerances.share(*given, platform=platform, precision="default"))
        assert tolerances.share(*given, platform=platform) > 20
    assert 0.2 < max(worst) <= 1


def test_tolerances():
    found = tolerances.all_of("gpu")
    assert found["float32"] == {"highest": 2e-6, "default": 2e-6 + 2 * 2**-10 + 2**-20}
    assert found["float64"] == {"highest": 1e-14, "default": 1e-14}
    assert set(found["int64"].values()) == {0.0}
    found = tolerances.all_of("tpu")
    assert found["float16"]["default"] == pytest.approx(1e-3 + 2 * 2**-8, rel=1e-2)
    assert found["float64"]["highest"] == 2e-6 * 2**-24
