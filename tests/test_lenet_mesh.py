"""The network on a mesh learns what one device learns, and goes on on fewer devices."""

import runpy
from pathlib import Path

import jax
import numpy as np

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_lenet_on_a_mesh(monkeypatch, capsys):
    """Losses within 1e-5 of one device's; nothing is gathered; the dense layer lies in parts."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    with jax.numpy_dtype_promotion("standard"):
        found = runpy.run_path(str(EXAMPLES / "lenet_on_a_mesh.py"))["main"](epochs=1)
    assert len(found["losses"]) == 44
    assert found["losses"][-1] < 0.3 * found["losses"][0]
    assert max(found["apart"]) <= 1e-5
    assert found["part"] == (64, 120)
    batch, both = found["sent"]
    assert set(batch) == {"all-reduce"}
    # two layers, forward from both sides, and the second one's gradient back
    assert set(both) == {"all-reduce", "collective-permute"}
    assert both["collective-permute"] == 6
    printed = capsys.readouterr().out
    assert f"8 data x 1 rows     {found['apart'][0]:12.1e}" in printed
    assert "eight, then four" in printed


def test_wrong_rows_are_seen(monkeypatch):
    """The comparison is not blind: halos from the wrong side change the losses."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    right = jax.lax.ppermute
    with jax.numpy_dtype_promotion("standard"):
        lenet = runpy.run_path(str(EXAMPLES / "lenet_on_a_mesh.py"))
        learned = lenet["digits"]()[:2]
        _, alone = lenet["train"](None, learned, 1, steps=3)
        monkeypatch.setattr(
            jax.lax, "ppermute", lambda x, names, pairs: right(x, names, [p[::-1] for p in pairs])
        )
        _, losses = lenet["train"](lenet["mesh_of"](1, 2), learned, 1, steps=3)
    assert np.abs(losses - alone).max() > 1e-3
