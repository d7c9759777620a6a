"""The plugin's call for quantized layers: every value beside loops in int64, bit by bit."""

from functools import partial

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import Case
from jax.sharding import NamedSharding, PartitionSpec

import jaxconv
from jaxconv._core.methods import integers
from jaxconv.compat.onnx import ConvInteger, QLinearConv

pytest.importorskip(
    "jaxconv_onednn", reason="the plugin jaxconv-onednn is not installed: pip install ./native"
)
# channels on both sides of the sixteen and the eight that are moved at a time
CHANNELS = ((3, 8), (16, 16), (17, 33), (40, 24))
# planes on both sides of eight and sixteen positions, and of what one task makes
SPACES = (
    ((35,), (4,), {"padding": ((3, 1),)}),
    ((150,), (1,), {}),
    ((9, 14), (3, 3), {"padding": 1}),
    ((10, 13), (2, 3), {"stride": (2, 1), "dilation": (1, 2), "padding": ((-1, 3), (4, -2))}),
    ((5, 6, 7), (2, 3, 2), {"padding": "same", "stride": (1, 2, 1)}),
    ((3, 3), (5, 4), {"padding": ((9, 8), (0, 7))}),
    ((1, 1), (1, 1), {}),
)
TYPES = (("uint8", "int8", "uint8"), ("int8", "uint8", "int8"), ("uint8", "int16", "int32"))
SCALES = np.float32(0.02), np.float32(0.01), np.float32(0.5)
CALL = "@jaxconv_onednn_quantized"


def drawn(rng, shape, dtype):
    ends = np.iinfo(dtype if dtype != "int16" else "int8")
    return rng.integers(ends.min, ends.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("channels", CHANNELS, ids=str)
def test_widths(channels, space):
    size, kernel, arguments = space
    (inputs, outputs), rng = channels, np.random.default_rng(0)
    for groups, (of_x, of_w, of_y) in zip((1, 3, 1), TYPES, strict=True):
        shapes = (3, *size, groups * inputs), (*kernel, inputs, groups * outputs)
        case = Case("widths", *shapes, {**arguments, "groups": groups})
        x, w = drawn(rng, case.x, of_x), drawn(rng, case.w, of_w)
        bias = rng.integers(-1000, 1000, groups * outputs).astype(np.int32)
        factor = rng.uniform(1e-3, 1e-2, groups * outputs).astype(np.float32)
        x_zero = drawn(rng, (), of_x).astype(np.int32)
        arrays = np.moveaxis(x, -1, 1), w, x_zero, bias, factor, np.float32(3)
        how = {"spec": case.spec, "dtype": jnp.dtype(of_y)}
        y = integers.quantized(*map(jnp.asarray, arrays), **how)
        exact = cases.expected("output", x.astype(np.float64) - x_zero, w.astype(float), case.spec)
        sums = (exact + bias).astype(np.int32)
        if of_y != "int32":
            ends = np.iinfo(of_y)
            sums = np.clip(np.round(np.float32(sums) * factor) + 3, ends.min, ends.max)
        assert y.dtype == of_y
        np.testing.assert_array_equal(np.moveaxis(np.asarray(y), 1, -1), sums)


def layer(*, batch=2, size=(9, 9), inputs=16, outputs=16, of_w="int8"):
    rng = np.random.default_rng(1)
    x = jnp.asarray(drawn(rng, (batch, inputs, *size), "uint8"))
    return x, jnp.asarray(drawn(rng, (outputs, inputs, 3, 3), of_w))


def quantized(x, w, *, scales=SCALES, w_zero=None, **how):
    x_scale, w_scale, y_scale = scales
    w_zero = np.int8(0) if w_zero is None else w_zero
    middle = np.uint8(128)
    return QLinearConv(x, x_scale, middle, w, w_scale, w_zero, y_scale, middle, **how)


def of_several_devices(x):
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec("rows")))


def test_programs_for_several_devices_have_the_same_bits():
    """They divide the work, which one call does not."""
    x, w = layer()
    f = jax.jit(partial(quantized, pads=[1] * 4))
    divided = of_several_devices(x)
    assert CALL in f.lower(x, w).as_text()
    assert CALL not in f.lower(divided, w).as_text()
    told = jax.jit(f, in_shardings=(divided.sharding, None))  # where tracing does not know it
    assert CALL not in told.lower(x, w).as_text()
    assert told(x, w).sharding.spec[0] == "rows"
    np.testing.assert_array_equal(f(divided, w), f(x, w))


@pytest.mark.parametrize(
    "scales",
    [
        (1.0, 1.0, 0.0),
        (0.0, 1.0, 0.0),
        (1.0, 0.5, 1.0),
        (-1.0, 1.0, 64.0),
        (np.nan, 1.0, 1.0),
        (1e-30, 1e-15, 1.0),
        (1e30, 1e8, 1.0),
    ],
    ids=str,
)
def test_scales_of_all_kinds_round_as_elsewhere(scales):
    """Without a number, infinite, of halves, negative, tiny and huge."""
    x, w = layer()
    scales = tuple(map(np.float32, scales))
    f = jax.jit(partial(quantized, scales=scales))
    y, elsewhere = f(x, w), f(of_several_devices(x), w)
    np.testing.assert_array_equal(y, elsewhere)


def test_a_kernels_zero_points_and_a_bias():
    x, w = layer(of_w="uint8")
    w_zero, bias = jnp.arange(16, dtype="uint8"), jnp.arange(16, dtype="int32") * 1000
    f = jax.jit(partial(quantized, w_zero=w_zero, B=bias))
    assert CALL in f.lower(x, w).as_text()
    np.testing.assert_array_equal(f(x, w), f(of_several_devices(x), w))


def test_mapped_images_are_one_batch():
    x, w = layer()
    several = jnp.stack([x, x[::-1], x // 2])
    f = partial(quantized, w=w)
    mapped = jax.jit(jax.vmap(f))
    assert "while" not in mapped.lower(several).as_text()
    np.testing.assert_array_equal(mapped(several), jnp.stack([f(each) for each in several]))


@pytest.mark.parametrize("axes", [(None, 0), (0, 0)], ids=str)
def test_mapped_kernels(axes):
    x, w = layer()
    xs = x if axes[0] is None else jnp.stack([x, x[::-1]])
    ws = jnp.stack([w, -w])
    y = jax.vmap(quantized, axes)(xs, ws)
    last = x if axes[0] is None else xs[1]
    np.testing.assert_array_equal(y, jnp.stack([quantized(x, w), quantized(last, -w)]))


def test_scales_have_a_gradient_of_zero():
    """Rounded values do not change with them, but at steps."""
    x, w = layer()

    def total(scale):
        return quantized(x, w, scales=(scale, *SCALES[1:])).astype(jnp.float32).sum()

    assert jax.grad(total)(SCALES[0]) == 0


def test_explain_names_it_where_it_runs():
    x, w = layer()
    (row,) = jaxconv.explain(ConvInteger, x, w)
    assert (row.method, row.shapes) == (
        "integers",
        "uint8[2,16,9,9] * int8[3,3,16,16] -> int32[2,16,7,7]",
    )
    (row,) = jaxconv.explain(ConvInteger, x, w, platform="gpu")
    assert row.shapes.startswith("float32")


def test_xla_counts_its_operations():
    x, w = layer()
    assert jax.jit(ConvInteger).lower(x, w).cost_analysis()["flops"] >= 2 * 9 * 16 * 16 * 49 * 2


def test_nothing_to_convolve():
    x, w = layer(batch=0)
    assert quantized(x, w).shape == (0, 16, 7, 7)


def test_wide_padding_is_left_to_methods_without_a_copy():
    """The kernel's copy of x with its padding would have 640 GB."""
    x, w = jnp.ones((1, 8, 3, 3), "uint8"), jnp.ones((8, 8, 2, 2), "int8")
    wide = {"strides": [1000] * 2, "pads": [100_000] * 4}
    assert CALL not in jax.jit(partial(ConvInteger, **wide)).lower(x, w).as_text()
