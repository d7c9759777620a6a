"""`jaxconv.compat.torch` compared with `torch.nn.functional`: calls, values and gradients.

Both get the very same arguments, in torch's order and layout. The tolerances of `close` are those
explained in `test_torch`.
"""

import inspect
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_torch import assert_close, normal
from torch_here import torch

import jaxconv.compat.torch as F  # noqa: N812

T = torch.nn.functional

# torch warns of a copy for even kernels, which does not change its results
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]


def assert_same_as_torch(name, arrays, arguments, ours=None):
    """Value and gradient with respect to every array, for one fixed cotangent."""
    positional, named = arguments

    def face(*arrays):
        return (ours or getattr(F, name))(*arrays, *positional, **named)

    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    theirs = getattr(T, name)(*tensors, *positional, **named)
    dy = normal(*theirs.shape, seed=9)
    theirs.backward(torch.tensor(dy))

    @jax.jit
    def run(arrays, dy):
        y, pull = jax.vjp(face, *arrays)
        return y, pull(dy)

    y, gradients = run(tuple(arrays), dy)
    assert_close(y, theirs.detach().numpy())
    for gradient, tensor in zip(gradients, tensors, strict=True):
        assert_close(gradient, tensor.grad.numpy())


def call(*positional, **named):
    return positional, named


CONV = {
    "1d": ("conv1d", (2, 4, 9), (6, 4, 3), call()),
    "1d unbatched same even": ("conv1d", (4, 9), (6, 4, 4), call(padding="same")),
    "1d same dilated": ("conv1d", (2, 4, 9), (6, 4, 4), call(1, "same", 3)),
    "1d depthwise": ("conv1d", (2, 6, 9), (12, 1, 4), call(1, 3, 1, 6)),
    "2d strided": ("conv2d", (2, 3, 8, 9), (4, 3, 3, 2), call((2, 3), (1, 0))),
    "2d valid": ("conv2d", (2, 3, 8, 9), (4, 3, 3, 2), call((2,), "valid")),
    "2d same over the size": ("conv2d", (1, 2, 3, 4), (2, 2, 8, 3), call(padding="same")),
    "2d everything": ("conv2d", (2, 4, 9, 8), (6, 2, 3, 2), call([2, 1], (2,), (1, 2), 2)),
    "2d unbatched": ("conv2d", (4, 6, 5), (6, 2, 1, 1), call(stride=2, groups=2)),
    "3d": ("conv3d", (1, 2, 5, 4, 6), (4, 2, 2, 3, 2), call((1, 1, 2), (1, 0, 1))),
    "3d same": ("conv3d", (2, 3, 4, 3), (4, 1, 2, 3, 4), call(1, "same", 1, 2)),
}

TRANSPOSED = {
    "1d": ("conv_transpose1d", (2, 6, 7), (6, 4, 3), call()),
    "1d unbatched": ("conv_transpose1d", (6, 7), (6, 4, 3), call(3, 1, 2)),
    "1d below dilation": ("conv_transpose1d", (1, 4, 5), (4, 2, 3), call(1, 2, 2, 1, 3)),
    "1d beyond the result": ("conv_transpose1d", (1, 4, 5), (4, 2, 1), call(1, 0, 2, 1, 3)),
    "2d uneven": ("conv_transpose2d", (2, 4, 4, 3), (4, 3, 3, 2), call((2, 3), (1, 0), (1, 2))),
    "2d stride or dilation": (
        "conv_transpose2d",
        (1, 4, 3, 4),
        (4, 3, 3, 2),
        call((2, 3), (1, 2), (2, 2), 2, (3, 1)),
    ),
    "2d depthwise": ("conv_transpose2d", (2, 4, 4, 4), (4, 1, 4, 4), call(2, 1, groups=4)),
    "2d unbatched": ("conv_transpose2d", (4, 4, 4), (4, 3, 3, 3), call([2], dilation=2)),
    "3d": ("conv_transpose3d", (1, 4, 3, 2, 3), (4, 2, 2, 3, 2), call((2, 1, 2), (0, 1, 1))),
    "3d grouped": (
        "conv_transpose3d",
        (4, 2, 3, 2),
        (4, 2, 2, 2, 2),
        call(2, output_padding=1, groups=2, dilation=2),
    ),
}


def sort(case):
    """Its function, what its arguments are and whether one array is a batch."""
    name, x, w, (positional, named) = case
    parameters = list(inspect.signature(getattr(F, name)).parameters)[3:]
    given = dict(zip(parameters, positional, strict=False)) | named
    words = {value for value in given.values() if isinstance(value, str)}
    size = {1: "one", 0: "even"}.get(max(w[2:]) % 2 * max(w[2:]), "odd")
    transposed = "transpose" in name
    return {name, *((transposed, each) for each in (*given, *words, size, len(x) < len(w)))}


@pytest.mark.cover(case=sort)
@pytest.mark.parametrize("case", [*CONV.values(), *TRANSPOSED.values()], ids=[*CONV, *TRANSPOSED])
def test_values_and_gradients(case):
    name, x, w, arguments = case
    groups = arguments[1].get("groups", ([*arguments[0], *(1,) * 6])[3])
    out = w[1] * groups if "transpose" in name else w[0]
    arrays = [normal(*x), normal(*w, seed=1), normal(out, seed=2)]
    assert_same_as_torch(name, arrays, arguments)


@pytest.mark.cover(case=lambda case: case[0])
@pytest.mark.parametrize("case", [*CONV.values(), *TRANSPOSED.values()], ids=[*CONV, *TRANSPOSED])
def test_values_by_name(case):
    """Without a bias, eagerly, from NumPy and JAX arrays at once."""
    name, x, w, arguments = case
    arrays = [normal(*x), normal(*w, seed=1)]
    named = dict(
        zip(list(inspect.signature(getattr(F, name)).parameters)[3:], arguments[0], strict=False)
    )
    named = {"input": jnp.asarray(arrays[0]), "weight": arrays[1], **named, **arguments[1]}
    theirs = {**named, "input": torch.tensor(arrays[0]), "weight": torch.tensor(arrays[1])}
    assert_close(getattr(F, name)(**named), getattr(T, name)(**theirs).numpy())


def test_the_comparison_can_fail():
    def wrong(*arrays, **named):
        return (
            F.conv1d(*arrays, **named)
            + 1e-3 * (arrays[1] - jax.lax.stop_gradient(arrays[1]))[0, 0, 0]
        )

    arrays = [normal(1, 2, 5), normal(2, 2, 2, seed=1), normal(2, seed=2)]
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_same_as_torch("conv1d", arrays, call(padding=1), wrong)


WINDOWS = {
    "square": ((2, 3, 6, 5), (6, 5), call(2)),
    "all by position": ((2, 2, 7, 6), (7, 6), call((3, 2), (1, 2), (1, 0), (2, 1))),
    "unbatched": ((3, 6, 6), 6, call([2, 3], padding=2, stride=3)),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_unfold_and_fold(name):
    shape, size, (positional, named) = WINDOWS[name]
    assert_same_as_torch("unfold", [normal(*shape)], (positional, named))
    cols = T.unfold(torch.zeros(shape), *positional, **named).shape
    assert_same_as_torch("fold", [normal(*cols)], ((size, *positional), named))


def test_windows_of_bool():
    x = np.random.default_rng(0).random((1, 2, 4, 4)) < 0.3
    cols = F.unfold(x, 2)
    np.testing.assert_array_equal(cols, T.unfold(torch.tensor(x), 2).numpy())
    folded = F.fold(cols, 4, 2)
    assert folded.dtype == bool
    np.testing.assert_array_equal(folded, T.fold(torch.tensor(np.array(cols)), (4, 4), 2).numpy())


PAD = [
    *(((2, 3, 5), (1, 2), mode) for mode in ("constant", "reflect", "replicate", "circular")),
    *(((2, 4, 5), (4, 3, 1, 0), mode) for mode in ("reflect", "replicate", "circular")),
    *(((1, 2, 4, 3, 5), (1, 2, 0, 2, 3, 1), mode) for mode in ("reflect", "replicate", "circular")),
    *(((2, 3, 7), (-2, 4), mode) for mode in ("constant", "reflect", "replicate", "circular")),
    *(((2, 7), (3, -1), mode) for mode in ("constant", "reflect", "replicate", "circular")),
    ((2, 3, 4), (1, 1, 0, 2, -1, 0), "constant"),
    ((4,), (0, 3), "constant"),
    ((2, 3), (), "constant"),
    ((2, 3, 4), (4, 4), "circular"),
]


@pytest.mark.parametrize(("shape", "pads", "mode"), PAD, ids=str)
def test_pad(shape, pads, mode):
    assert_same_as_torch("pad", [normal(*shape)], call(pads, mode))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", 2.5),
        ("float32", float("-inf")),
        ("float16", 65504),
        ("complex64", 1.5),
        ("int32", -1.7),
        ("int8", 127.0),
        ("uint8", True),
        ("bool", 2),
        ("bool", 0.5),
    ],
)
def test_the_value_of_pad(dtype, value):
    x = np.zeros(2, dtype)
    expected = T.pad(torch.tensor(x), (1, 2), value=value).numpy()
    for given in (value, np.asarray(value)):
        padded = F.pad(x, (1, 2), value=given)
        assert padded.dtype == dtype
        np.testing.assert_array_equal(padded, expected)


def test_the_value_of_pad_may_be_learned():
    gradient = jax.jit(jax.grad(lambda v: (F.pad(jnp.ones(2), (1, 2), value=v) ** 2).sum()))(3.0)
    assert gradient == 18


ZERO_BATCH = {
    "conv2d": lambda lib, x, w: lib.conv2d(x, w),
    "conv_transpose2d": lambda lib, x, w: lib.conv_transpose2d(x, w),
    "unfold": lambda lib, x, w: lib.unfold(x, 2),
    "fold": lambda lib, x, w: lib.fold(x[:, :, :1].reshape((0, 8, 1)), 2, 2),
    "reflect": lambda lib, x, w: lib.pad(x, (1, 1, 1, 1), "reflect"),
    "circular": lambda lib, x, w: lib.pad(x, (1, 1, 1, 1), "circular"),
}


@pytest.mark.parametrize("name", ZERO_BATCH)
def test_a_batch_of_none(name):
    x, w = np.zeros((0, 2, 4, 4), "float32"), np.zeros((2, 2, 3, 3), "float32")
    theirs = ZERO_BATCH[name](T, torch.tensor(x), torch.tensor(w))
    assert ZERO_BATCH[name](F, x, w).shape == tuple(theirs.shape)


# Both round half precision, bfloat16 to 8 bits; other dtypes agree up to the order of the sums
TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2, "complex64": 1e-5, "float64": 1e-13}
TOLERANCE["complex128"] = 1e-13


def tensor(array):
    if array.dtype == jnp.bfloat16:
        return torch.tensor(array.astype("float32")).bfloat16()
    return torch.tensor(array)


def numbers(shape, dtype, seed):
    array = normal(*shape, seed=seed)
    if dtype.startswith(("int", "uint")):
        return np.abs(3 * array).astype(dtype)
    return array.astype(jnp.dtype(dtype)) * (1 + 1j if dtype.startswith("complex") else 1)


@pytest.mark.parametrize("name", ["conv1d", "conv_transpose1d", "fold", "unfold"])
@pytest.mark.parametrize("dtype", [*TOLERANCE, "int64", "int8", "uint8", "int16", "int32"])
def test_dtypes_as_in_torch(name, dtype):
    with jax.enable_x64(True):
        arrays = [numbers((1, 4, 6), dtype, 0)]
        arguments = ((3, 4), 2) if name == "fold" else (2,) if name == "unfold" else ()
        if name.startswith("conv"):
            arrays += [numbers((4, 4, 3), dtype, 1), numbers((4,), dtype, 2)]
        if name == "unfold":
            arrays = [numbers((1, 2, 3, 4), dtype, 0)]
        arrays = [a.astype(jnp.dtype(dtype)) for a in arrays]
        try:
            theirs = getattr(T, name)(*map(tensor, arrays), *arguments)
        except NotImplementedError:
            with pytest.raises(TypeError, match=f"^{name}: input is {dtype}, which torch.nn.func"):
                getattr(F, name)(*arrays, *arguments)
            return
        ours = getattr(F, name)(*arrays, *arguments)
        assert str(theirs.dtype) == f"torch.{ours.dtype}"
        theirs = theirs.float() if dtype == "bfloat16" else theirs
        tolerance = TOLERANCE.get(dtype, 0)
        wide = np.asarray(ours, dtype=theirs.numpy().dtype)
        scale = max(1.0, float(np.abs(wide).max()))
        np.testing.assert_allclose(wide, theirs.numpy(), rtol=tolerance, atol=tolerance * scale)


def test_int64_narrowed_by_jax_is_still_transposed():
    x, w = np.arange(4).reshape(1, 4), np.ones((1, 1, 2), int)
    y = F.conv_transpose1d(x, w)
    assert y.dtype == jnp.int32
    np.testing.assert_array_equal(y, T.conv_transpose1d(torch.tensor(x), torch.tensor(w)).numpy())


def test_vmap_and_second_derivatives():
    x, w = normal(3, 2, 4, 5), normal(6, 2, 3, 3, seed=1)
    mapped = jax.vmap(lambda x: F.conv2d(x, w, padding="same"))(x)
    assert_close(mapped, F.conv2d(x, w, padding="same"))

    def loss(library, x, w):
        return (library.conv_transpose2d(library.conv2d(x, w, None, 2), w, None, 2) ** 3).sum()

    x, w = normal(1, 2, 5, 5), normal(2, 2, 3, 3, seed=1) / 4
    hessian = torch.autograd.functional.hvp(
        lambda w: loss(T, torch.tensor(x), w), torch.tensor(w), torch.ones(w.shape)
    )[1].numpy()
    ours = jax.jit(
        lambda w: jax.jvp(jax.grad(lambda w: loss(F, x, w)), (w,), (jnp.ones_like(w),))[1]
    )(w)
    np.testing.assert_allclose(ours, hessian, rtol=1e-4, atol=1e-4 * np.abs(hessian).max())


def test_method_and_precision_are_ours():
    x, w = normal(1, 2, 5), normal(2, 2, 3, seed=1)
    assert_close(F.conv1d(x, w, method="loops", precision="highest"), F.conv1d(x, w))
    assert_close(F.conv_transpose1d(x, w, method="loops"), F.conv_transpose1d(x, w))
    with pytest.raises(
        ValueError, match=re.escape("conv1d: method='fast' must be one of 'auto', ")
    ):
        F.conv1d(x, w, method="fast")


SIGNATURES = {
    "conv1d": "input weight bias stride padding dilation groups",
    "conv2d": "input weight bias stride padding dilation groups",
    "conv3d": "input weight bias stride padding dilation groups",
    "conv_transpose1d": "input weight bias stride padding output_padding groups dilation",
    "conv_transpose2d": "input weight bias stride padding output_padding groups dilation",
    "conv_transpose3d": "input weight bias stride padding output_padding groups dilation",
    "unfold": "input kernel_size dilation padding stride",
    "fold": "input output_size kernel_size dilation padding stride",
    "pad": "input pad mode value",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_have_torch_names_and_order(name):
    parameters = inspect.signature(getattr(F, name)).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert " ".join(positional) == SIGNATURES[name]
    document = (getattr(T, name).__doc__ or "").split("->")[0]
    if "(input, weight" in document:  # torch's own are written in C++
        assert re.findall(r"\(input.*\)", document)[0].count(",") == len(positional) - 1
        stated = re.sub(r"=[^,)]*", "", re.findall(r"\((input.*)\)", document)[0])
        assert stated.replace(",", "") == SIGNATURES[name]


def test_torch_is_not_imported():
    code = (
        "import sys, numpy as np, jaxconv.compat.torch as F;"
        "x = np.ones((1, 2, 4, 4), 'float32');"
        "F.fold(F.unfold(F.pad(F.conv2d(x, x), (1, 1)), 1), (1, 3), 1);"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
