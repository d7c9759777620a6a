"""The bench on devices that work through a queue. No times are compared.

No accelerator is needed: clocks, devices and the CUDA package are stand-ins.
"""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bench_layers import DEPTHWISE, EVERY_PRECISION, NETWORK, TINY
from torch_here import torch

from jaxconv.bench import (
    cases,
    contestants,
    devices,
    float64_answers,
    learning,
    models,
    peers,
    plane_programs,
    queued,
    tables,
    torch_blocks,
)
from jaxconv.bench.measure import contest
from jaxconv.bench.networks import steps
from jaxconv.bench.numerics import TF32
from jaxconv.bench.peers import Program
from jaxconv.bench.queued import Queued

pytestmark = pytest.mark.usefixtures("as_a_command")


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
    installed = {"jax", "torch", "causal_conv1d", "scipy"}
    found = lambda name: types if name in installed else None
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
    installed -= {"torch", "causal_conv1d"}
    to_install = peers.present(["torch", "causal-conv1d"])[1].values()
    assert [line.split(":")[1] for line in to_install] == [
        " pip install torch",
        " pip install causal-conv1d",
    ]
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


@pytest.mark.cover(precision=type)
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
