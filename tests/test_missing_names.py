"""What users of another library are told of a name of it that is not here."""

import pytest

from jaxconv import compat, linen, nnx
from jaxconv.compat import lax, torch

ELSEWHERE = {
    (compat, "numpy"): "",
    (lax, "conv"): "; jaxconv.accelerate(f) computes every convolution of lax that f calls",
    (torch, "relu"): "; JAX has jax.nn.relu",
    (torch, "max_pool2d"): "; activations are in jax.nn, pools (channels last) in flax.linen, "
    "losses in optax",
    (linen, "Dense"): "; flax.linen.Dense is Flax's",
    (linen, "Convolution"): "",
    (nnx, "Module"): "; flax.nnx.Module is Flax's",
}


@pytest.mark.parametrize(("module", "name"), ELSEWHERE)
def test_a_missing_name(module, name):
    with pytest.raises(AttributeError) as caught:
        getattr(module, name)
    assert str(caught.value) == (
        f"module {module.__name__!r} has no attribute {name!r}{ELSEWHERE[module, name]}. "
        f"There are here: {', '.join(module.__all__)}"
    )


@pytest.mark.parametrize("module", [compat, lax, torch, linen, nnx, compat.cv2, compat.onnx])
def test_what_python_asks_for_gets_a_plain_answer(module):
    assert dir(module) == sorted(module.__all__)
    with pytest.raises(AttributeError) as caught:
        module.__wrapped__  # noqa: B018 - looking it up is what raises
    assert str(caught.value) == f"module {module.__name__!r} has no attribute '__wrapped__'"


def test_an_import_of_it_is_an_import_error():
    """Python's own, whose message is not ours to write: the pages say what is there."""
    with pytest.raises(ImportError) as caught:
        from jaxconv.compat.torch import relu  # noqa: F401 (the line that raises)
    assert "cannot import name 'relu' from 'jaxconv.compat.torch'" in str(caught.value)
    assert not hasattr(torch, "relu")
