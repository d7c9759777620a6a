"""LeNet on real digits beside torch: one run of the example, and that its comparison can fail."""

import runpy
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from torch_here import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def lenet():
    """The example's own functions, and JAX's promotion as it comes in a script."""
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.syspath_prepend(str(EXAMPLES))
        yield runpy.run_path(str(EXAMPLES / "lenet_beside_torch.py"))


@pytest.fixture(autouse=True)
def as_a_script():
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_trains_as_torch_does(lenet, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lenet_beside_torch.py", str(tmp_path)])
    found = lenet["main"](rounds=0)
    assert found["apart"] <= 1e-4
    assert min(found["accuracies"]) >= 0.97
    assert found["carried"] <= 1e-4  # our trained weights, in torch's network
    printed = capsys.readouterr().out
    assert f"furthest apart in 100 steps: {found['apart']:.1e}" in printed
    assert f"jaxconv: {found['accuracies'][1]:.1%} of 360 unseen digits" in printed
    names = ["lenet_feature_maps.png", "lenet_kernels.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    readme = (EXAMPLES / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in names)


def test_no_unseen_digit_is_learned_from(lenet):
    x, y, x_test, y_test = lenet["digits"]()
    assert (x.shape, x_test.shape) == ((9 * 1437, 16, 16, 1), (360, 16, 16, 1))
    assert (x.min(), x.max()) == (0, 1)
    assert (len(y), len(y_test)) == (9 * 1437, 360)
    learned = {image.tobytes() for image in x[4 * 1437 : 5 * 1437]}  # those that are not moved
    assert not any(image.tobytes() in learned for image in x_test)
    order = lenet["batches"](len(x), 2)
    assert order.shape == (2, 44, 32)
    # once an epoch, in an order of its own
    assert all(len(set(epoch.ravel() % 1437)) == 44 * 32 for epoch in order)
    assert not np.array_equal(*order)


def test_another_start_is_seen(lenet):
    """Weights that torch flattens in its own order train otherwise: the comparison is not blind."""
    x, y, _, _ = lenet["digits"]()
    order = lenet["batches"](len(x), 3)
    start = lenet["initial"]()
    _, theirs = lenet["train_in_torch"](start, x, y, order)
    rows = start["dense1"]["kernel"].reshape(4, 4, 16, -1)
    start["dense1"]["kernel"] = np.moveaxis(rows, 2, 0).reshape(256, -1)
    _, ours = lenet["train_here"](start, x, y, order)
    assert len(ours) >= 100
    assert np.abs(ours - theirs)[:100].max() > 1e-2


def test_torch_keeps_its_threads(lenet):
    x, y, _, _ = lenet["digits"]()
    before = torch.get_num_threads()
    part = lenet["part_of_torchs_time"](
        lenet["initial"](), x, y, lenet["batches"](len(x), 3)[:, :2]
    )
    assert torch.get_num_threads() == before
    assert 0 < part < np.inf
