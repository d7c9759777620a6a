"""Programs that call the plugin, on devices and threads; where it steps aside; how it fails."""

import subprocess
import sys
import threading
from functools import partial

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv
from jaxconv._core.dispatch.choose import select
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.methods import onednn

plugin = pytest.importorskip(
    "jaxconv_onednn", reason="the plugin jaxconv-onednn is not installed: pip install ./native"
)

P = PartitionSpec
CALL = "@jaxconv_onednn_"
NETWORK = cases.Case("network", (8, 7, 6, 4), (3, 2, 4, 8), {"padding": 1})


def calls(lowered):
    return lowered.as_text().count(CALL)


def apply(x, w):
    return jaxconv.conv(x, w, **NETWORK.arguments, method="onednn")


def loss(x, w):
    return (apply(x, w) ** 2).sum()


@pytest.fixture(scope="module")
def network():
    """Arrays, and both gradients as lax has them."""
    arrays = NETWORK.arrays()
    x, w = jnp.asarray(arrays["x"]), jnp.asarray(arrays["w"])

    def plain(x, w):
        return (
            jaxconv.conv(x, w, **NETWORK.arguments, method="lax", precision="highest") ** 2
        ).sum()

    return x, w, jax.jit(jax.grad(plain, (0, 1)))(x, w)


def assert_close(actual, want):
    for a, b in zip(actual, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * np.abs(b).max())


def test_gradients_under_scan_and_remat(network):
    x, w, want = network

    def step(total, scale):
        gradients = jax.grad(jax.checkpoint(loss), (0, 1))(x, scale * w)
        return jax.tree.map(jnp.add, total, gradients), None

    zeros = jax.tree.map(jnp.zeros_like, (x, w))
    # the loss is a square: gradients in x grow as scale ** 2, those in w as scale
    summed, _ = jax.jit(lambda: jax.lax.scan(step, zeros, jnp.array([1.0, 2.0])))()
    assert_close((summed[0] / 5, summed[1] / 3), want)


def test_an_exported_program_has_no_call(network):
    x, w, want = network
    compiled = jax.jit(jax.grad(loss, (0, 1)))
    assert calls(compiled.lower(x, w)) == 3
    for platforms in (["cpu"], ["cpu", "tpu"]):
        exported = jax.export.export(compiled, platforms=platforms)(x, w)
        assert CALL not in str(exported.mlir_module())
    assert_close(jax.export.export(compiled)(x, w).call(x, w), want)


def test_sharded_arrays_are_left_to_lax_and_never_gathered(network):
    x, w, want = network
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    sharded = jax.device_put(x, NamedSharding(mesh, P("data")))
    whole = jax.device_put(w, NamedSharding(mesh, P()))
    compiled = jax.jit(jax.grad(loss, (0, 1)))
    lowered = compiled.lower(sharded, whole)
    assert calls(lowered) == 0
    text = jax.jit(jax.grad(loss)).lower(sharded, whole).compile().as_text()
    assert not [name for name in ("all-gather", "all-to-all", "collective-permute") if name in text]
    assert_close(compiled(sharded, whole), want)


def test_each_device_of_shard_map_makes_its_own_call(network):
    x, w, want = network
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    mapped = jax.jit(
        jax.shard_map(
            jax.grad(lambda x, w: jax.lax.psum(loss(x, w), "data"), (0, 1)),
            mesh=mesh,
            in_specs=(P("data"), P()),
            out_specs=(P("data"), P()),
        )
    )
    lowered = mapped.lower(x, w)
    assert calls(lowered) == 3
    assert "devices = 8 : i64" in lowered.as_text()  # they share the machine's threads
    assert_close(mapped(x, w), want)


def test_one_program_may_do_both(network):
    """Inside `shard_map` and outside it, the same shapes: only the inner ones call the plugin."""
    x, w, _ = network
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def both(x, w):
        inner = jax.shard_map(apply, mesh=mesh, in_specs=(P(), P()), out_specs=P())(x, w)
        return inner + apply(x, w)

    compiled = jax.jit(both)
    assert calls(compiled.lower(x, w)) == 1
    assert_close([compiled(x, w)], [2 * apply(x, w)])


def test_where_only_some_axes_are_manual_xla_still_partitions(network):
    x, w, _ = network
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    mapped = jax.shard_map(
        apply, mesh=mesh, axis_names={"data"}, in_specs=(P("data"), P()), out_specs=P("data")
    )
    assert calls(jax.jit(mapped).lower(x, w)) == 0


def test_several_devices_and_threads_at_once(network):
    """Two Python threads, each with programs in flight on four devices, over one plan."""
    x, w, want = network
    compiled = jax.jit(jax.grad(loss, (0, 1)))
    results = {}

    def work(name, devices):
        placed = [jax.device_put((x, w), device) for device in devices]
        for _ in range(5):
            results[name] = [compiled(*arrays) for arrays in placed]

    devices = jax.devices()
    threads = [threading.Thread(target=work, args=(n, devices[n::2])) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results[0] + results[1]) == len(devices)
    for gradients in results[0] + results[1]:
        assert_close(gradients, want)


def test_the_cache_is_bounded():
    def run(size):
        x, w = jnp.ones((1, size, 1)), jnp.ones((2, 1, 1))
        spec = cases.normalise("conv", x.shape, w.shape)
        return contract("output", x, w, spec, dtype="float32", method="onednn")

    before = plugin.cache_info()
    try:
        plugin.cache_resize(2)
        for size in (90, 91, 92, 92):
            np.testing.assert_array_equal(run(size), np.full((1, size - 1, 1), 2.0))
        info = plugin.cache_info()
        assert (info.size, info.capacity) == (2, 2)
        assert (info.hits, info.misses) == (before.hits + 1, before.misses + 3)
        run(90)  # was dropped
        assert plugin.cache_info().misses == info.misses + 1
    finally:
        plugin.cache_resize(before.capacity)


GEOMETRY = {name: np.ones(1, np.int64) for name in ("stride", "dilation")} | {
    name: np.zeros(1, np.int64) for name in ("before", "after")
}


@pytest.mark.parametrize(
    ("x", "w", "y", "dtype", "message"),
    [
        ((1, 8, 2), (3, 2, 4), (1, 7, 4), "float32",
         "y(1, 7, 4) is not what x(1, 8, 2) and w(3, 2, 4) give in dimension 0"),
        ((1, 8, 2), (3, 3, 4), (1, 6, 4), "float32",
         "x(1, 8, 2) has not the channels of w(3, 3, 4) in 1 groups"),
        ((1, 8, 2), (3, 2, 4), (2, 6, 4), "float32", "x(1, 8, 2) and y(2, 6, 4) differ in batch"),
        ((1, 8), (3, 2, 4), (1, 6, 4), "float32",
         "x(1, 8), w(3, 2, 4) and y(1, 6, 4) differ in rank"),
        ((1, 8), (3, 2), (1, 6), "float32", "w has shape (3, 2); ranks 1 to 3 are served"),
        ((1, 8, 2), (3, 2, 4), (1, 6, 4), "int32",
         "arrays must be float32, bfloat16 or float16"),
    ],
)  # fmt: skip
def test_a_handler_called_wrongly_raises(x, w, y, dtype, message):
    onednn.registered()
    call = jax.ffi.ffi_call("jaxconv_onednn_output", jax.ShapeDtypeStruct(y, dtype))
    with pytest.raises(jax.errors.JaxRuntimeError) as error:
        jax.block_until_ready(
            call(
                jnp.zeros(x, dtype), jnp.zeros(w, dtype),
                groups=np.int64(1), devices=np.int64(1), **GEOMETRY,
            )
        )  # fmt: skip
    assert str(error.value) == f"INVALID_ARGUMENT: jaxconv_onednn: {message}"


def choice(spec, dtype="float32", platform="cpu", **reason):
    return select(Problem("output", spec, 1, 1, 1, dtype, platform), "onednn", **reason)


def test_it_says_why_it_steps_aside():
    spec = NETWORK.spec
    assert choice(spec) == ("onednn", "asked for")
    assert choice(spec, platform="tpu") == ("lax", "onednn runs on CPUs only")
    assert choice(spec, dtype="int8") == ("lax", "oneDNN does not compute in int8")
    assert choice(cases.by_name("4d").spec) == ("lax", "oneDNN has no convolution of rank 4")
    assert choice(spec, ffi_unavailable_reason="because") == ("lax", "because")


def test_without_the_plugin_lax_serves(monkeypatch, network):
    x, w, want = network
    monkeypatch.setattr(onednn, "entry_points", lambda **_: ())
    missing = onednn.plugin.__wrapped__()
    assert missing == "the plugin jaxconv-onednn is not installed"
    monkeypatch.setattr(onednn, "plugin", lambda: missing)
    assert choice(NETWORK.spec) == ("lax", missing)
    compiled = jax.jit(lambda x, w: jax.grad(loss, (0, 1))(x, w))
    assert calls(compiled.lower(x, w)) == 0
    assert_close(compiled(x, w), want)


def test_a_plugin_that_does_not_load_is_told():
    class Broken:
        def load(self):
            raise OSError("libdnnl.so.3: no such file")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onednn, "entry_points", lambda **_: (Broken(),))
        assert onednn.plugin.__wrapped__() == (
            "the plugin jaxconv-onednn does not load (libdnnl.so.3: no such file)"
        )


def test_importing_jaxconv_does_not_load_it():
    code = "import sys, jaxconv; print('jaxconv_onednn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_process_may_begin_with_a_program_that_calls_it():
    """Before any backend: XLA takes no handlers before the type of their state."""
    code = (
        "import jax, numpy as np; from functools import partial\n"
        "from jaxconv._core.methods import onednn\n"
        "from jaxconv._core.geometry.spec import normalise\n"
        "x, w = np.ones((1, 4, 1), np.float32), np.ones((2, 1, 1), np.float32)\n"
        "spec = normalise('conv', x.shape, w.shape)\n"
        "print(jax.jit(partial(onednn.output, spec=spec, dtype=x.dtype))(x, w).ravel())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[2. 2. 2.]"


def test_the_implementation_can_be_asked_for():
    spec = NETWORK.spec
    ask = partial(
        plugin.implementation,
        "output",
        NETWORK.x,
        NETWORK.w,
        stride=spec.stride,
        before=[lo for lo, _ in spec.padding],
        after=[hi for _, hi in spec.padding],
        dilation=spec.dilation,
        groups=spec.groups,
    )
    assert ":" in ask(y=NETWORK.y)
    with pytest.raises(ValueError, match=r"^jaxconv_onednn: y\(8, 1, 1, 8\) is not what x"):
        ask(y=(8, 1, 1, 8))
