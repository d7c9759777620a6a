"""The figure of a run: what is on it, and that no global state knows of it."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxconv import plots
from jaxconv.cli import EXTRA

RNG = np.random.default_rng(0)


def _figure(shape, kernels, **options):
    after = RNG.normal(size=shape)
    count = len(kernels)
    return plots.learning(
        RNG.uniform(size=shape),
        after,
        after + 0.1,
        kernels=kernels,
        losses=[np.array([1.0, 0.1, 0.01])] * count,
        labels=["red", "green", "blue"][:count],
        title="a title",
        **options,
    )


def _titles(figure):
    return [axes.get_title().partition("\n")[0] for axes in figure.axes if axes.get_title()]


def _numbers(figure):
    """What is written into kernels."""
    kernels = [axes for axes in figure.axes if axes.get_title().startswith("learned")]
    return [text.get_text() for axes in kernels for text in axes.texts]


def test_what_was_left_out_is_not_in_the_residual():
    used = np.ones((9, 12), bool)
    used[2, 3] = False
    after = RNG.normal(size=(9, 12))
    prediction = after + np.where(used, 0.1, 1000.0)
    figure = plots.learning(
        after,
        after,
        prediction,
        kernels=[np.ones((3, 3))],
        losses=[np.array([1.0, 0.1])],
        labels=["grey"],
        title="a title",
        used=used,
    )
    assert any(axes.get_title().endswith("rms 0.1") for axes in figure.axes)


def test_one_kernel():
    figure = _figure((9, 12), [np.array([[-1.0, 0.25], [-1e-5, 2.0]])], floor=1e-3)
    residual = "residual = prediction - after"
    assert _titles(figure) == [
        "before",
        "after",
        "prediction",
        residual,
        "learned kernel, 2x2",
        "loss",
    ]
    assert figure.get_suptitle() == "a title"
    assert _numbers(figure) == ["-1.000", "0.250", "0.000", "2.000"]
    loss = next(axes for axes in figure.axes if axes.get_title() == "loss")
    assert loss.get_yscale() == "log"
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("step", "mean squared error (intensity²)")
    np.testing.assert_array_equal(loss.lines[0].get_xdata(), [1, 2, 3])
    assert [text.get_text() for text in loss.get_legend().get_texts()] == [
        "learning",
        "8-bit rounding: 0.001",
    ]


def test_after_and_prediction_share_their_greys():
    _, after, prediction = _figure((9, 12), [np.ones((1, 2))]).axes[:3]
    assert after.images[0].get_clim() == prediction.images[0].get_clim()


def test_signed_pictures_are_centred_on_zero():
    figure = _figure((9, 12), [np.array([[-1.0, 3.0]])])
    for title in ("residual = prediction - after", "learned kernel"):
        axes = next(a for a in figure.axes if a.get_title().startswith(title))
        low, high = axes.images[0].get_clim()
        assert low == -high < 0


def test_three_kernels_of_a_colour_image():
    figure = _figure((9, 12, 3), [np.full((3, 3), value) for value in (0.1, 0.2, 0.3)])
    assert _titles(figure)[4:7] == [f"learned, {c}, 3x3" for c in ("red", "green", "blue")]
    assert len(_numbers(figure)) == 27
    bounds = {a.images[0].get_clim() for a in figure.axes if a.get_title().startswith("learned")}
    assert bounds == {(-0.3, 0.3)}  # one scale, so that they can be compared
    loss = next(axes for axes in figure.axes if axes.get_title() == "loss")
    assert len({line.get_color() for line in loss.lines}) == 3
    assert len({line.get_linestyle() for line in loss.lines}) == 3


def test_large_kernels_have_no_numbers():
    assert _numbers(_figure((40, 40), [RNG.normal(size=(15, 15))])) == []


def test_the_residual_of_colours_is_the_largest_at_each_pixel():
    figure = Figure()
    residual = np.array([[[0.1, -0.5, 0.2], [0.3, 0.0, -0.1]]])
    axes = figure.subplots()
    plots.draw_residual(axes, residual, "residual")
    np.testing.assert_array_equal(axes.images[0].get_array(), [[-0.5, 0.3]])


def test_an_installation_without_the_extra():
    """`from jaxconv import *` works without the `cli` extra; a figure's error names the extra."""
    code = (
        "import sys\n"
        f"sys.modules |= dict.fromkeys({EXTRA})\n"
        "from jaxconv import *\n"
        "try: plots.losses([[1.0]], ['SGD'], title='')\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message = "jaxconv.plots.losses needs matplotlib: pip install 'jaxconv[cli]'\n"
    assert done.stdout == message


@pytest.mark.parametrize("kernel", [np.zeros((3, 3)), np.ones((1, 1))])
def test_figures_are_written_without_pyplot(tmp_path, kernel, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    figure = _figure((9, 12), [kernel])
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert "matplotlib.pyplot" not in sys.modules
