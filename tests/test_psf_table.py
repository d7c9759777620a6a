"""What the table of recovered blurs says holds in its rows; the command does it on files."""

import json
import re
import runpy
from pathlib import Path

import imageio.v3 as imageio
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from jaxconv import corr2d, learn, psf
from jaxconv.cli.app import app

SCRIPT = Path(__file__).parents[1] / "examples" / "psf_table.py"
NOISY = ("noise 1 %", "noise 5 %", "1 %, JPEG 90")


@pytest.fixture(autouse=True)
def as_a_script():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        yield runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def table(script):
    with jax.numpy_dtype_promotion("standard"):
        return script["main"](["--quick"])


def test_every_blur_and_every_way_of_saving_is_there(script, table):
    blurs, saved = {row["blur"] for row in table}, {row["saved"] for row in table}
    assert blurs == {"Gaussian", "motion", "defocus", "Airy"}
    assert saved == set(script["SAVED"])
    assert len(table) == 4 * 7
    assert all(np.isfinite(row[way]) for row in table for way in script["WAYS"])


def test_without_noise_the_solve_is_exact(table):
    assert max(row["solve"] for row in table if row["saved"] == "exact") < 0.01


def test_descent_ends_where_the_solve_does(table):
    for row in table:
        assert row["descent"] == pytest.approx(row["solve"], rel=0.01, abs=0.01), row


def test_a_ridge_helps_where_there_is_noise(table):
    for row in table:
        if row["saved"] == "noise 5 %":
            assert row["ridge"] < row["solve"], row


def test_the_constraint_helps_more(table):
    """Where there is noise; of what is exact it takes nothing that matters."""
    for row in table:
        if row["saved"] in NOISY:
            assert row["simplex"] < row["ridge"], row
        assert row["simplex"] < 1.02 * row["solve"] + 2, row


def test_saving_costs_what_it_should(table):
    by_way = {(row["blur"], row["saved"]): row["solve"] for row in table}
    for blur in {row["blur"] for row in table}:
        errors = [by_way[blur, f"noise {level} %"] for level in ("0.1", "1", "5")]
        # of linear least squares the error is in proportion to the noise
        np.testing.assert_allclose(np.array(errors) / errors[0], [1, 10, 50], rtol=0.01)
        assert by_way[blur, "8-bit PNG"] < by_way[blur, "JPEG 90"]


def test_peers_stay_behind_on_exact_images(table):
    for row in table:
        if row["saved"] == "exact":
            assert row["wiener"] > 1
        assert row["lucy"] > 30


def test_the_batch_learns_what_recover_kernel_does(script):
    x = jnp.asarray(script["photograph"]("camera", 64))
    y = script["noisy"](corr2d(x, psf.defocus(2.0)), 0.01)
    alone = learn.recover_kernel(x, y, 5)
    (together,) = script["descended"](x, jnp.asarray(y)[None], 5)
    np.testing.assert_allclose(together, alone.kernel, atol=2e-4)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_the_command_does_it_on_files(script, kind, tmp_path):
    """A photograph and its motion blur, padded to one size, saved in 8 bits or as JPEG."""
    x, true = script["photograph"]("camera", 159), psf.motion(6, 0.5, size=7)
    y = ndimage.correlate(x, true, mode="nearest")
    settings = {"quality": 95} if kind == "jpg" else {}
    imageio.imwrite(tmp_path / "before.png", script["as_8_bits"](x))
    imageio.imwrite(tmp_path / f"after.{kind}", script["as_8_bits"](y), **settings)
    arguments = ["learn", tmp_path / "before.png", tmp_path / f"after.{kind}", "--kernel", "7"]
    done = CliRunner().invoke(
        app, [*map(str, arguments), "--exact", "--json", "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    kernel = np.load(tmp_path / "out" / "kernel.npy")
    np.testing.assert_allclose(kernel, found["learned"][0]["kernel"])
    error = np.linalg.norm(kernel - true) / np.linalg.norm(true)
    assert error < {"png": 0.02, "jpg": 0.25}[kind]
    assert found["exact"]


def test_the_readme_names_it():
    readme = (SCRIPT.parent / "README.md").read_text()
    assert re.search(r"\(psf_table\.py\)", readme)
