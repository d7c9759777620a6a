"""The chapter's pictures: what is on them, on one scale, and what is refused."""

import re
import sys

import numpy as np
import pytest

from jaxconv import plots
from jaxconv.analysis._counts import parameter_counts

RNG = np.random.default_rng(0)


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def limits(figure):
    return {axes.images[0].get_clim() for axes in figure.axes if axes.images}


def colourbar(figure):
    return figure.axes[-1].get_ylabel()


def test_before_after():
    before, kernel = RNG.uniform(size=(5, 6)), np.array([[1.0, -2.0]])
    figure = plots.before_after(before, kernel, before[:, 1:] - 0.5, title="edges")
    assert figure.get_suptitle() == "edges"
    assert [title.split("\n")[0] for title in titles(figure)] == ["before", "kernel, 1x2", "after"]
    low, high = figure.axes[2].images[0].get_clim()
    assert low == -high
    # what is never negative is an image
    figure = plots.before_after(before, kernel, before, title="blur")
    assert figure.axes[2].images[0].get_cmap().name == "gray"


def test_kernels_share_a_scale():
    figure = plots.kernels(np.arange(-6.0, 6).reshape(1, 2, 2, 3), title="a layer")
    assert titles(figure) == [f"in {i}, out {o}" for i in range(2) for o in range(3)]
    assert limits(figure) == {(-6, 6)}
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), [[-2, 4]])
    # the colourbar is the last of the axes
    assert len(figure.axes) == 7
    assert titles(plots.kernels(np.ones((2, 2, 1, 1)), title="", labels=["edge"])) == ["edge"]


@pytest.mark.parametrize("channels", [1, 3, 5, 20])
def test_feature_maps(channels):
    y = RNG.uniform(-1, 1, size=(4, 6, channels)).round(1)
    figure = plots.feature_maps(y, title="a layer", unit="volts")
    assert titles(figure) == [f"channel {number}" for number in range(channels)]
    assert len(figure.axes) == channels + 1
    assert limits(figure) == {(-np.abs(y).max(), np.abs(y).max())}
    assert colourbar(figure) == "volts"
    np.testing.assert_array_equal(figure.axes[channels - 1].images[0].get_array(), y[..., -1])
    assert limits(plots.feature_maps(y**2, title="")) == {((y**2).min(), (y**2).max())}


def test_feature_maps_after_their_input():
    x, y = RNG.uniform(size=(6, 8, 3)), RNG.normal(size=(4, 6, 2))
    figure = plots.feature_maps(y, title="a layer", image=x, labels=["a", "b"])
    assert [title.split("\n")[0] for title in titles(figure)] == ["input", "a", "b"]
    assert figure.axes[0].images[0].get_array().shape == (6, 8, 3)
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), y[..., 1])


def test_losses():
    figure = plots.losses([[3, 2, 1], [2, 1, 0.5]], ["a", "b"], title="loss", unit="mm²")
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert (figure.get_suptitle(), axes.get_xlabel(), axes.get_ylabel()) == ("loss", "step", "mm²")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [2, 1, 0.5])


def test_receptive_fields():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    magnitude = np.where(mask, 0.1, 0)
    magnitude[1, 2] = 4
    figure = plots.receptive_fields([mask] * 2, [magnitude] * 2, labels=["a", "b"], title="fields")
    assert titles(figure) == [
        "a\ncan see 6 of 20",
        "1 (17 % of it) above half the peak",
        "b\ncan see 6 of 20",
        "1 (17 % of it) above half the peak",
    ]
    assert limits(figure) == {(0, 1)}
    assert figure.axes[1].images[0].get_array().max() == 1
    assert colourbar(figure) == "share of the largest gradient"


def test_errors_share_a_scale():
    maps = [np.zeros((2, 2)), np.array([[0, 3.0], [0, 0]])]
    figure = plots.errors(maps, labels=["a", "b"], title="shift", unit="K")
    assert titles(figure) == ["a\nzero everywhere", "b\nnot zero at 25 % of places"]
    assert limits(figure) == {(0, 3)}
    assert colourbar(figure) == "difference (K), zero in white"


def test_parameter_counts():
    counts = [parameter_counts((8, 8), 1), parameter_counts((1000, 1000), 1)]
    figure = plots.parameter_counts(counts, labels=["small", "large"], title="weights")
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[4096, 10**12], [225, 3996001], [9, 9]]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["dense", "shared", "local"]
    assert axes.get_ylabel() == "weights (number, log scale)"
    texts = [text.get_text() for text in axes.texts]
    dense, shared = r"$1.00\times10^{12}$", r"$4.00\times10^{6}$"
    assert texts == ["4,096", dense, "225", shared, "9", "9"]


def test_written_without_pyplot(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plots.feature_maps(np.zeros((3, 3, 2)), title="nothing").savefig(tmp_path / "a.png")
    plots.errors([np.zeros((3, 3))], labels=[""], title="nothing").savefig(tmp_path / "b.png")
    assert "matplotlib.pyplot" not in sys.modules


def refused(message, f, *args, **kwargs):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        f(*args, title="", **kwargs)


def test_bad_input():
    plane = np.ones((2, 2))
    refused(
        "before_after: before.shape=(2,) must be (H, W) or (H, W, 3)",
        plots.before_after,
        np.ones(2),
        plane,
        plane,
    )
    refused(
        "before_after: kernel.shape=(0, 2) must have 2 dimensions, none empty",
        plots.before_after,
        plane,
        plane[:0],
        plane,
    )
    refused("kernels: w.shape=(2, 2) must have 4 dimensions, none empty", plots.kernels, plane)
    refused(
        "kernels: w.shape=(1, 1, 9, 8) has 72 panels, more than the 64 that can be seen; show "
        "some, such as w[..., :8]",
        plots.kernels,
        np.ones((1, 1, 9, 8)),
    )
    refused(
        "feature_maps: 1 labels for 2 channels",
        plots.feature_maps,
        np.ones((2, 2, 2)),
        labels=["a"],
    )
    refused(
        "losses: 1 labels for 2 curves; give as many, one to three", plots.losses, [[1], [2]], ["a"]
    )
    refused(
        "receptive_fields: 1 theoretical and 0 effective fields for 1 labels; give as many of "
        "each, at least one",
        plots.receptive_fields,
        [plane],
        [],
        labels=["a"],
    )
    refused(
        "receptive_fields: fields of shapes (2, 2) and (2, 1) must be 2-D and of one shape; join "
        "channels by any(-1) and sum(-1)",
        plots.receptive_fields,
        [plane],
        [plane[:, :1]],
        labels=["a"],
    )
    refused("errors: a map of shape (2,) must be 2-D", plots.errors, [plane[0]], labels=["a"])
    refused(
        "errors: 0 labels for 1 maps; give as many, at least one", plots.errors, [plane], labels=[]
    )
    refused(
        "parameter_counts: 0 labels for 0 counts; give as many, at least one",
        plots.parameter_counts,
        [],
        labels=[],
    )
