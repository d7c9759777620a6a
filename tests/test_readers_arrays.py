"""What readers of files and other libraries hand over: byte orders, masks, subclasses, objects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mode_calls import EVERY, LENGTHS, made

import jaxconv
from jaxconv._core.geometry import dtypes

X = np.linspace(-1, 1, 48, dtype=np.float32).reshape(6, 8)
KERNEL = np.array([[1, -1]], np.float32)
# the second makes its complex array by lax, which takes JAX's arrays alone
WITHOUT_ARRAYS = {"learn.solve_kernel of complex images", *LENGTHS}
NOT_READ = {*WITHOUT_ARRAYS, "learn.interior"}  # it cuts NumPy's arrays without reading them


class Quantity(np.ndarray):
    """As astropy's: an array with a unit."""

    unit = "Jy"


class Series:
    """As pandas': no array, but it makes one."""

    def __array__(self, dtype=None, copy=None):
        return np.asarray(X.astype(">f4"), dtype)


class Tensor:
    """As torch's, where gradients are taken."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


def is_layer(name):
    """Its first argument is parameters, Flax's own arrays."""
    return name.startswith(("linen", "nnx"))


@pytest.mark.parametrize("name", [name for name in EVERY if name not in NOT_READ])
def test_big_endian_arrays_count_by_value(name):
    """Both byte orders make the same operations, on the same numbers."""
    function, arrays = made(name)
    swapped = jax.tree.map(
        lambda leaf: np.asarray(leaf).astype(np.asarray(leaf).dtype.newbyteorder(">")), arrays
    )
    if is_layer(name):
        swapped[0] = arrays[0]
    with jax.numpy_dtype_promotion("standard"):
        found, want = (
            jax.make_jaxpr(lambda each=each: function(*each))() for each in (swapped, arrays)
        )
    assert [each.primitive for each in found.eqns] == [each.primitive for each in want.eqns]
    assert numbers_of(found) == numbers_of(want)


def numbers_of(closed):
    return {
        (array.dtype.name, array.shape, array.tobytes())
        for array in map(np.asarray, closed.consts)
        if not jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended)
    }


@pytest.mark.parametrize("name", [name for name in EVERY if name not in WITHOUT_ARRAYS])
def test_masked_arrays_are_refused_by_name(name):
    """In the place of every array."""
    function, arrays = made(name)
    for place in range(1 if is_layer(name) else 0, len(arrays)):
        masked = [*arrays[:place], np.ma.asarray(arrays[place]), *arrays[place + 1 :]]
        with pytest.raises(TypeError, match=r"^[\w.]+: .+ is a masked array, .*\.filled\(0\)"):
            jax.eval_shape(lambda masked=masked: function(*masked))


@pytest.mark.parametrize("dtype", [">f4", ">f2", ">i2", ">i4", ">u2", ">c8", "<f4", "?"])
def test_byte_orders(dtype):
    array = dtypes.as_array("conv", "x", X.astype(dtype))
    assert array.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(array, X.astype(dtype))


@pytest.mark.parametrize(
    "array",
    [X.view(Quantity), Series(), X.view(np.matrix), X.astype(">f4").view(Quantity), X[::-1][::-1]],
    ids=["quantity", "series", "matrix", "big-endian quantity", "view"],
)
def test_subclasses_and_objects_count_by_their_numbers(array):
    np.testing.assert_array_equal(
        jaxconv.corr2d(array, KERNEL), jaxconv.corr2d(jnp.asarray(X), KERNEL)
    )


def test_memory_maps(tmp_path):
    mapped = np.memmap(tmp_path / "x", ">f4", "w+", shape=X.shape)
    mapped[:] = X
    np.testing.assert_array_equal(jaxconv.corr2d(mapped, KERNEL), jaxconv.corr2d(X, KERNEL))


FIELDS = np.zeros((6, 8), [("red", "f4"), ("green", "f4")])
REFUSED = {
    "masked": (
        np.ma.masked_less(X, 0),
        TypeError,
        "corr2d: x is a masked array, and a sum has no rule for masked elements; fill them: "
        "x.filled(0)",
    ),
    "structured": (
        FIELDS,
        TypeError,
        f"corr2d: x must be an array of numbers, not {FIELDS.dtype}; take one of its fields: "
        "x['red']",
    ),
    "objects": (X.astype(object), TypeError, "corr2d: x must be an array of numbers, not object"),
    "text": (X.astype(str), TypeError, f"not {X.astype(str).dtype}"),
    "long double": (
        X.astype(np.longdouble),
        TypeError,
        f"corr2d: x must be an array of numbers, not {np.dtype(np.longdouble)}; cast it: "
        "x.astype(float)",
    ),
    "tensor": (
        Tensor(),
        TypeError,
        "corr2d: x must be an array of numbers, not Tensor: Can't call numpy() on Tensor that "
        "requires grad.",
    ),
    "too large": (
        [[2**40, 1]],
        ValueError,
        "corr2d: x has an integer that is too large (",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    array, error, message = REFUSED[case]
    with pytest.raises(error) as caught:
        jaxconv.corr2d(array, KERNEL)
    assert message in str(caught.value)


def test_a_large_integer_is_taken_with_64_bits():
    with jax.enable_x64(True):
        assert dtypes.as_array("conv", "x", [2**40]).tolist() == [2**40]
