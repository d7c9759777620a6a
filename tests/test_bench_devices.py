"""The bench command on devices that work through a queue, in TF32 and bfloat16, by every method.

No accelerator is needed: clocks, devices and the CUDA package are stand-ins. No times.
"""

import json
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_here import torch
from typer.testing import CliRunner

from jaxconv._core.dispatch.choose import candidates
from jaxconv.bench import (
    cases,
    contestants,
    devices,
    each_method,
    float64_answers,
    known,
    learning,
    models,
    numerics,
    peers,
    plane_programs,
    queued,
    tables,
    torch_blocks,
)
from jaxconv.bench.measure import Measured, contest
from jaxconv.bench.networks import steps
from jaxconv.bench.networks.definitions import Network
from jaxconv.bench.numerics import BFLOAT16, FLOAT32, PRECISIONS, TF32
from jaxconv.bench.peers import Program
from jaxconv.bench.queued import Queued
from jaxconv.cli import load
from jaxconv.cli.app import app

TINY = cases.Layer(name="tiny", x=(2, 6, 5, 4), w=(3, 3, 2, 6), padding=1, groups=2, quick=True)
DEPTHWISE = cases.depthwise("causal", (2, 12, 16), 4, padding="causal")
NETWORK = Network(
    name="two layers",
    define=lambda layers, x: layers.conv(layers.conv_norm(x, 4, 3), 4, 3),
    image=(6, 6, 4),
)
EVERY_PRECISION = pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)


@pytest.fixture(autouse=True)
def as_a_command(monkeypatch):
    """Promotion as it comes, for Flax mixes dtypes; what other tests compiled is kept."""
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    with jax.numpy_dtype_promotion("standard"):
        yield


def bench(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


# Precision


def switches():
    backends = torch.backends
    return backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision


@pytest.mark.parametrize(
    ("precision", "level", "wanted"),
    [
        (FLOAT32, "highest", ("ieee", "ieee")),
        (TF32, "tensorfloat32", ("tf32", "tf32")),
        (BFLOAT16, "highest", ("ieee", "ieee")),
    ],
)
def test_jax_and_torch_are_told_and_untold(precision, level, wanted):
    before = switches(), torch.backends.cudnn.benchmark, jax.config.jax_default_matmul_precision
    with numerics.applied(precision, ["lax", "torch"]):
        assert (switches(), jax.config.jax_default_matmul_precision) == (wanted, level)
        assert torch.backends.cudnn.benchmark
    with numerics.applied(precision, ["lax"]):
        assert (switches(), jax.config.jax_default_matmul_precision) == (before[0], level)
    now = switches(), torch.backends.cudnn.benchmark, jax.config.jax_default_matmul_precision
    assert now == before


def test_older_torch_has_flags(monkeypatch):
    flags = types.SimpleNamespace
    cudnn, matmul = flags(allow_tf32=True, benchmark=False), flags(allow_tf32=False)
    backends = flags(cudnn=cudnn, cuda=flags(matmul=matmul))
    monkeypatch.setitem(sys.modules, "torch", flags(backends=backends))
    for precision in (TF32, FLOAT32):
        with numerics.applied(precision, ["torch"]):
            assert (cudnn.allow_tf32, matmul.allow_tf32) == (precision.tf32, precision.tf32)
        assert (cudnn.allow_tf32, matmul.allow_tf32) == (True, False)


def cut(a, bits):
    """Keep a number of significant bits, cut off."""
    mantissa, exponent = np.frexp(np.asarray(a, np.float64))
    return np.ldexp(np.trunc(np.ldexp(mantissa, bits)), exponent - bits)


def rounded(a, bits):
    mantissa, exponent = np.frexp(np.asarray(a, np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)


@pytest.mark.parametrize("case", [TINY, *(k.small for k in known.KNOWN)], ids=lambda c: c.name)
def test_tolerances_allow_a_precision_and_notice_a_lower_one(case):
    """Products emulated in float64: TF32 that rounds, and that cuts off; bfloat16 sums."""
    given = contestants.arrays(case)
    exact = float64_answers.layer(case, *given)

    def error(**computed):
        return max(float64_answers.errors(computed, exact).values())

    for narrow in (rounded, cut):
        found = error(**float64_answers.layer(case, *(narrow(a, 11) for a in given)))
        assert FLOAT32.tolerance < found < TF32.tolerance
    found = error(**float64_answers.layer(case, *(rounded(a, 8) for a in given)))
    assert found > TF32.tolerance
    # results in bfloat16, of operands in bfloat16
    given = contestants.arrays(case, BFLOAT16)
    exact = float64_answers.layer(case, *given)
    assert error(**{name: rounded(a, 8) for name, a in exact.items()}) < BFLOAT16.tolerance
    # a missing tap is seen in any precision
    x, w, ct = given
    w = np.where(np.arange(w.size).reshape(w.shape) < w.size / len(w), 0, w)
    assert error(y=float64_answers.layer(case, x, w, ct)["y"]) > BFLOAT16.tolerance


def test_numbers_are_those_of_the_dtype():
    for precision in PRECISIONS.values():
        for a in contestants.arrays(TINY, precision):
            assert a.dtype == np.float32
            np.testing.assert_array_equal(np.float32(precision.place(a)), a)
            assert precision.place(a).dtype == precision.dtype
    (wide, *_), (narrow, *_) = contestants.arrays(TINY), contestants.arrays(TINY, BFLOAT16)
    assert (wide != narrow).any()
    assert [p.itemsize for p in PRECISIONS.values()] == [4, 4, 2]


@EVERY_PRECISION
def test_every_contestant_is_right_in_every_precision(precision):
    ways = {"method": "auto", "peers": ["lax", "torch", "scipy"], "precision": precision}
    limits = {"budget": 1e-9, "compiles": 1, "tolerance": precision.tolerance}
    with numerics.applied(precision, ways["peers"]):
        expected = float64_answers.layer(TINY, *contestants.arrays(TINY, precision))
        found = contest(contestants.programs(TINY, "forward+backward", **ways), expected, **limits)
        plane = cases.Plane(size=24, kernel=(4, 3))
        expected = float64_answers.plane(plane, *plane_programs.arrays(plane, precision))
        filtered = contest(plane_programs.programs(plane, **ways), expected, **limits)
    assert len(found) == 5
    assert len(filtered) == (5 if precision is FLOAT32 else 4)
    for label, measured in (found | filtered).items():
        assert measured.left_out is None or "slower" in measured.left_out, label
        if precision is BFLOAT16:
            assert measured.error > 1e-4, label


def test_steps_by_precision():
    belong = {
        p.name: {s.dtype for s in steps.STEPS if s.belongs_to(p)} for p in PRECISIONS.values()
    }
    narrow = {"float32": {"float32", "bfloat16"}, "tf32": {"float32"}, "bfloat16": {"bfloat16"}}
    assert belong == narrow
    (case, *_) = steps.STEPS
    assert case.tolerance_in(FLOAT32) == case.tolerance == steps.KINKED_TOLERANCE
    assert case.tolerance_in(TF32) == steps.TOLERANCES["bfloat16 training step"]


# Time


class Clock:
    """A clock that stands still but for what moves it: a host, and a device with a queue."""

    def __init__(self, asking, computing):
        self.now, self.free, self.asking, self.computing = 0.0, 0.0, asking, computing
        self.started = self.waited = 0

    def perf_counter(self):
        return self.now

    def start(self):
        self.now += self.asking
        self.free = max(self.now, self.free) + self.computing
        self.started += 1
        return np.float64(self.free)

    def wait(self, done):
        self.now = max(self.now, float(done))
        self.waited += 1
        return done


@pytest.mark.parametrize(("asking", "computing"), [(1e-5, 1e-3), (1e-4, 1e-5)])
def test_a_burst_has_the_devices_time(monkeypatch, asking, computing):
    clock = Clock(asking, computing)
    monkeypatch.setattr(queued, "time", clock)
    call = Queued(start=clock.start, wait=clock.wait)
    slower, faster = max(asking, computing), min(asking, computing)
    assert call.burst(50) == pytest.approx((50 * slower + faster) / 50)
    assert (clock.started, clock.waited) == (50, 1)
    assert call.alone() == pytest.approx((asking, asking + computing))
    # bursts of 20 ms, at most 200 calls, as many as make up the calls
    clock.started = clock.waited = 0
    assert len(queued.timed(call, 100, 1e-3)) == 5
    assert (clock.started, clock.waited) == (100, 5)
    assert len(queued.timed(call, 1, 1e-6)) == 1
    assert clock.started == 300
    assert len(queued.timed(call, 3, 1.0)) == 3


@pytest.mark.parametrize(("asking", "bound"), [(0, False), (1e-3, True)])
def test_times_of_asking_are_told(monkeypatch, asking, bound):
    monkeypatch.setattr(queued.Queued, "alone", lambda _: (asking, 1e-3))
    monkeypatch.setattr(queued.Queued, "burst", lambda *_: 1.1e-3)
    expected = float64_answers.layer(TINY, *contestants.arrays(TINY))
    programs = contestants.programs(TINY, "forward", method="auto", peers=["lax"])
    found = contest(programs, expected, budget=1e-9, compiles=1, bursts=True)["jaxconv"]
    assert (found.seconds, found.dispatch_seconds, found.latency_seconds) == (1.1e-3, asking, 1e-3)
    assert found.bound_by_dispatch == bound
    row = {"contestants": {"jaxconv": vars(found)}, "best": {"lax": 1.1e-3}}
    assert tables._times(row, "jaxconv", ["lax"])[0] == ("1.10*" if bound else "1.10")
    told = tables.dispatched([row])
    assert (told is not None) == bound
    assert not bound or "1 of ours, 0 of peers" in told


def test_bursts_have_right_values_too():
    expected = float64_answers.layer(TINY, *contestants.arrays(TINY))
    programs = contestants.programs(TINY, "forward+backward", method="auto", peers=["lax", "torch"])
    found = contest(programs, expected, budget=1e-9, compiles=1, bursts=True)
    assert all(m.error < 1e-5 for m in found.values())
    # what runs on the host is timed call by call
    assert found["jaxconv"].dispatch_seconds is not None
    assert found["torch contiguous"].dispatch_seconds is None
    usual = contest(programs, expected, budget=1e-9, compiles=1)
    assert usual["jaxconv"].dispatch_seconds is None


# Devices


@pytest.fixture
def on_a_gpu(monkeypatch):
    """JAX says that it runs on a GPU; `seen` is whether torch sees it, `count` what it is asked."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    state = types.SimpleNamespace(seen=True, count=0, peak=700)

    def synchronize():
        state.count += 1

    cuda = {
        "is_available": lambda: state.seen,
        "synchronize": synchronize,
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: 100,
        "max_memory_allocated": lambda: state.peak,
    }
    for name, function in cuda.items():
        monkeypatch.setattr(torch.cuda, name, function)
    return state


def test_peers_of_a_gpu(on_a_gpu, monkeypatch):
    find = peers.importlib.util.find_spec
    found = lambda name: types if name == "causal_conv1d" else find(name)
    monkeypatch.setattr(peers.importlib.util, "find_spec", found)
    there, missing = peers.present()
    assert there == ["lax", "torch", "torch.compile", "float32", "causal-conv1d"]
    assert missing == {
        "scipy": "scipy is left out: it runs on CPUs, and is no peer for a gpu",
        "opencv": "opencv is left out: it runs on CPUs, and is no peer for a gpu",
    }
    assert devices.torch_device() == "cuda"
    on_a_gpu.seen = False
    there, missing = peers.present(["lax", "torch", "causal-conv1d"])
    assert there == ["lax"]
    unseen = "it sees no GPU, and on a CPU it is no peer for one"
    assert missing["torch"] == f"torch is left out: {unseen}"
    assert missing["causal-conv1d"].endswith("it runs on GPUs that torch sees")
    assert devices.torch_device() == "cpu"
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert "no peer" in peers.present(["torch"])[1]["torch"]


def test_the_cuda_package_is_no_peer_of_a_cpu():
    assert "causal-conv1d" not in {*peers.present()[0], *peers.present()[1]}
    assert "causal-conv1d" in peers.present(["causal-conv1d"])[1]
    assert not devices.asynchronous()


def test_torch_is_waited_for_once_a_burst(on_a_gpu):
    program = Program(
        peer="torch",
        label="torch",
        function=lambda: np.ones(2),
        arguments=[],
        values=lambda y: {"y": y},
        on_cuda=True,
    )
    found = contest([program], {"y": np.ones(2)}, budget=1e-9)["torch"]
    assert found.device_bytes == 600
    assert found.dispatch_seconds is not None
    # the values, three to estimate, two to settle or more, one burst, five alone
    assert on_a_gpu.count >= 11
    on_a_gpu.count = 0
    call = Queued(start=lambda: program.function(), wait=program.wait)
    call.burst(50)
    assert on_a_gpu.count == 1


@pytest.fixture
def elsewhere(monkeypatch):
    """Tensors are on a device where nothing is stored; mixing it with the CPU raises."""
    monkeypatch.setattr(devices, "torch_device", lambda: "meta")


def torchs(programs):
    return [program for program in programs if program.peer == "torch"]


def on(tensors):
    return {tensor.device.type for tensor in jax.tree.leaves(tensors)}


@pytest.mark.usefixtures("elsewhere")
def test_torchs_arrays_are_on_the_device():
    ways = {"method": "auto", "peers": ["torch"]}
    up = cases.up("up", (1, 4, 4, 3), 2, 3, stride=2, padding=1, output_padding=1)
    for case in (TINY, DEPTHWISE, up):
        for mode in ("forward", "forward+backward", "kernel gradient", "per-example gradients"):
            for program in torchs(contestants.programs(case, mode, **ways)):
                assert on(program.arguments) == on(program.function(*program.arguments)) == {"meta"}
    plane = cases.Plane(size=8, kernel=(3, 3))
    (program,) = torchs(plane_programs.programs(plane, **ways))
    assert on(program.arguments) == on(program.function(*program.arguments)) == {"meta"}
    lesson = learning.Lesson(name="two", kernels=2)
    (program,) = torchs(learning.programs(lesson, peers=["torch"], quick=True))
    assert on(program.arguments) == on(program.function(*program.arguments)) == {"meta"}
    block = models.Model(
        name="tiny", x=(2, 4, 4, 4), block=models.MobileNet(), in_torch=torch_blocks.mobilenet
    )
    for program in torchs(models.programs(block, **ways)):
        assert on(program.arguments) == on(program.function(*program.arguments)) == {"meta"}
    for training in (True, False):
        case = steps.Step(network=NETWORK, written="linen", batch=2, training=training)
        (program,) = torchs(steps.programs(case, **ways, quick=True))
        assert on(program.arguments) == on(program.function(*program.arguments)) == {"meta"}


class Stats:
    """A device that counts its bytes."""

    device_kind, compute_capability = "Stand-in 9000", "9.0"

    def __init__(self, *told):
        self.told = list(told)

    def memory_stats(self):
        return self.told.pop(0)


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ({"bytes_in_use": 50, "peak_bytes_in_use": 300}, 260),
        ({"bytes_in_use": 50, "peak_bytes_in_use": 200}, None),
        (None, None),
    ],
)
def test_the_peak_is_that_of_the_call_if_it_raised_it(monkeypatch, later, expected):
    device = Stats({"bytes_in_use": 40, "peak_bytes_in_use": 200}, later)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert devices.with_peak(lambda: "result") == ("result", expected)


def test_facts_of_a_device(monkeypatch):
    device = Stats({"bytes_limit": 10})
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    facts = tables.machine(precision=TF32)
    assert {k: facts[k] for k in ("device_kind", "compute_capability", "memory_bytes")} == {
        "device_kind": "Stand-in 9000",
        "compute_capability": "9.0",
        "memory_bytes": 10,
    }
    assert (facts["precision"], facts["tolerance"]) == ("tf32", TF32.tolerance)
    assert facts["devices"] == jax.device_count()
    assert {"runtime", "date", "versions"} <= set(facts)


def test_the_exact_values_are_computed_on_the_host():
    with devices.on_the_host():
        assert jnp.ones(2).devices() == {jax.devices("cpu")[0]}


# The CUDA package


@EVERY_PRECISION
def test_causal_conv1d_is_called_as_it_is_documented(monkeypatch, precision):
    """A stand-in of the package that checks the shapes which its documentation asks for."""

    def causal_conv1d_fn(x, weight, bias=None, activation=None):
        assert bias is None
        assert activation is None
        assert 1 in (x.stride(1), x.stride(2))
        (_, channels, length), width = x.shape, weight.shape[1]
        assert weight.shape == (channels, width)
        y = torch.nn.functional.conv1d(x, weight[:, None], padding=width - 1, groups=channels)
        return y[..., :length]

    package = types.SimpleNamespace(causal_conv1d_fn=causal_conv1d_fn)
    monkeypatch.setitem(sys.modules, "causal_conv1d", package)
    ways = {"method": "auto", "peers": ["causal-conv1d"], "precision": precision}
    expected = float64_answers.layer(DEPTHWISE, *contestants.arrays(DEPTHWISE, precision))
    for mode in ("forward", "forward+backward", "kernel gradient"):
        programs = contestants.programs(DEPTHWISE, mode, **ways)
        assert [p.label.partition(" ")[0] for p in programs[1:]] == ["causal-conv1d"] * 2
        strides = [p.arguments[0].stride() for p in programs[1:]]
        assert [stride.index(1) for stride in strides] == [2, 1]
        limits = {"budget": 1e-9, "compiles": 1, "tolerance": precision.tolerance}
        found = contest(programs, expected, **limits)
        assert all(m.error is not None for m in found.values()), found
    # not what it has no kernels for
    for other in (TINY, cases.depthwise("wide", (2, 12, 16), 5, padding="causal")):
        assert len(contestants.programs(other, "forward", **ways)) == 1


# Every method


def test_every_method_that_serves_has_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "LAYERS", (TINY,))
    file = tmp_path / "every.json"
    ways = ("--method", "every", "--against", "lax", "--budget", "0.001", "--json", file)
    result = bench("--suite", "networks", "--quick", "--only", "forward$", *ways)
    assert result.exit_code == 0, result.output
    (record,) = json.loads(file.read_text())["records"]
    forced = {label.removeprefix("jaxconv "): taken for label, taken in record["ways"].items()}
    assert forced.pop("jaxconv") == record["methods"]
    assert {"lax", "taps", "products", "fft"} <= set(forced) <= set(candidates("fastest"))
    for name, taken in forced.items():
        assert taken == {"output": name}
        assert record["contestants"][f"jaxconv {name}"]["error"] < 1e-4
        assert f"{name}: {name}" in result.stdout
    # no ratio of theirs counts as one beside a peer
    assert set(record["ratios"]) == {"lax", *(f"jaxconv {name}" for name in forced)}
    summary = tables.summary([record], plugin=False)
    assert set(summary["geometric_means"]["networks, forward"]) == {"lax"}


def test_a_wrong_method_is_told(monkeypatch):
    measured = {
        "jaxconv": Measured(peer="jaxconv", seconds=1.0),
        "jaxconv taps": Measured(peer="jaxconv taps", left_out="wrong: y is off by 1"),
        "jaxconv fft": Measured(peer="jaxconv fft", left_out="slower than the peer's other way"),
    }
    record = {
        "contestants": {label: vars(found) for label, found in measured.items()},
        "compile": {"ours": None, "lax": None},
    }
    record |= {
        "suite": "networks",
        "case": "a",
        "mode": "forward",
        "ratios": {"lax": 2},
        "memory": None,
    }
    found = tables.summary([record], plugin=False)
    assert found["not_right"] == {"a, forward, jaxconv taps": "wrong: y is off by 1"}
    # goals are those on CPUs
    assert [limit["exceeded"] for limit in found["limits"]] == [1]
    assert tables.summary([record], plugin=False, platform="gpu")["limits"] == []


def test_every_method_of_a_step_and_of_a_plane():
    case = steps.Step(network=NETWORK, written="nnx", batch=2, training=False)
    programs = steps.programs(case, method="every", peers=[], quick=True)
    labels = {program.label for program in programs}
    assert {"jaxconv", "jaxconv lax", "jaxconv taps"} <= labels
    plane = cases.Plane(size=8, kernel=(3, 3))
    programs = plane_programs.programs(plane, method="every", peers=[])
    assert {"jaxconv", "jaxconv lax", "jaxconv taps", "jaxconv fft"} <= {p.label for p in programs}
    assert "jaxconv loops" not in labels
    methods = each_method.methods(programs[-1].function, programs[-1].arguments)
    assert methods == {"output": programs[-1].label.removeprefix("jaxconv ")}


# The command


@pytest.mark.parametrize("name", ["tf32", "bfloat16"])
def test_the_command_says_device_and_precision(tmp_path, monkeypatch, name):
    monkeypatch.setattr(cases, "LAYERS", (TINY,))
    file = tmp_path / "bench.json"
    ways = ("--against", "lax,torch", "--budget", "0.001", "--json", file, "--precision", name)
    result = bench("--suite", "networks", "--quick", "--only", "backward", *ways)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"cpu (cpu), {jax.device_count()} devices, {name}, 20")
    found = json.loads(file.read_text())
    assert found["machine"]["precision"] == name
    assert {"device_kind", "devices", "runtime", "date"} <= set(found["machine"])
    contestants = found["records"][0]["contestants"]
    errors = [c["error"] for c in contestants.values() if c["error"] is not None]
    assert (min(errors) > 1e-4) == (name == "bfloat16")


def test_suites_that_are_not_named(monkeypatch):
    ran = []

    def run(name):
        return lambda options: iter(ran.append(name) or ())

    from jaxconv.bench import suites

    monkeypatch.setattr(load, "busy_cores", lambda: 0.0)
    monkeypatch.setattr(suites, "SUITES", {name: run(name) for name in suites.SUITES})
    monkeypatch.setattr(suites, "warm_up", lambda: None)
    for arguments, expected in (
        ([], ["filters", "networks", "learn", "models", "steps"]),
        (["--precision", "tf32"], ["filters", "networks", "steps"]),
        (["--method", "every"], ["filters", "networks", "steps"]),
        (["--suite", "known,learn"], ["known", "learn"]),
    ):
        ran.clear()
        assert bench("--against", "lax", *arguments).exit_code == 2  # no case
        assert ran == expected
    assert suites.usual("gpu") == ("filters", "networks", "steps", "known")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--precision", "half"],
            "precision 'half' is unknown; known: float32, tf32, bfloat16",
        ),
        (
            ["--suite", "learn", "--precision", "tf32"],
            "--suite learn runs in float32, and by one method: --precision and --method every are "
            "for filters, networks, steps, known",
        ),
        (["--suite", "models", "--method", "every"], "--suite models runs in float32, and by one"),
        (
            ["--suite", "regret", "--precision", "tf32"],
            "--suite regret measures in float32: leave --precision out",
        ),
        (
            ["--suite", "steps", "--profile", "--method", "every"],
            "--profile takes one method, not every",
        ),
    ],
)
def test_refusals(monkeypatch, arguments, message):
    monkeypatch.setattr(load, "busy_cores", lambda: 0.0)
    result = bench(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"jaxconv bench: {message}")
