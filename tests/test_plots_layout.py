"""How figures are laid out: panels of one size in line, text that does not touch, bars, grids."""

import functools
import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxconv import filters, plots
from jaxconv.plots._panels import GRIDDED, nice_length

RNG = np.random.default_rng(0)
LOSSES = np.geomspace(3e4, 0.08, 40)


def learning(shape, size, count=1, scale=1.0, losses=LOSSES, title="a_photograph.png"):
    x = RNG.integers(0, 256, shape).astype(float)
    h, w = size
    y = x[: shape[0] - h + 1, : shape[1] - w + 1]
    return plots.learning(
        x,
        y,
        y + 0.3 * RNG.normal(size=y.shape),
        kernels=[scale * RNG.normal(size=size) for _ in range(count)],
        losses=[losses] * count,
        labels=["red", "green", "blue"][:count],
        title=title,
        unit="level",
    )


def restoration(shape, count=1):
    x = 65535 * RNG.uniform(size=shape)
    kernels = [filters.gaussian(s, 9, rank=2) for s in (1.2, 1.5, 1.8)[:count]]
    return plots.restoration(x, x, 1e3 * x, kernels=kernels, title="b.tif", unit="level")


FIGURES = {
    "grey": lambda: learning((120, 160), (9, 9)),
    "square": lambda: learning((90, 90), (3, 3), scale=1e-6),
    "large kernel": lambda: learning((90, 140), (21, 17), losses=np.array([2.0, 1.9, 1.8])),
    "tall": lambda: learning((200, 40), (1, 5), losses=1e-7 * LOSSES),
    "small": lambda: learning((6, 8), (1, 2)),
    "colour": lambda: learning((100, 150, 3), (5, 5), 3),
    "long names": lambda: learning((60, 90), (3, 3), title="a name of many words " * 10),
    "restored": lambda: restoration((100, 130)),
    "restored colours": lambda: restoration((100, 130, 3), 3),
    "before and after": lambda: plots.before_after(
        np.eye(6, 8), [[1.0, -1.0]], np.eye(6, 7) - 0.5, title="edges"
    ),
    "kernels": lambda: plots.kernels(RNG.normal(size=(5, 5, 3, 8)), title="a layer"),
    "one kernel": lambda: plots.kernels(1e4 * RNG.normal(size=(3, 3, 1, 1)), title="a long title"),
    "feature maps": lambda: plots.feature_maps(
        RNG.normal(size=(48, 64, 6)), title="maps", image=RNG.uniform(size=(50, 66, 3))
    ),
    "many maps": lambda: plots.feature_maps(RNG.uniform(size=(28, 28, 20)), title="maps"),
    "errors": lambda: plots.errors(
        [np.eye(24), np.eye(12), np.eye(50)], labels=["a", "b", "c"], title="errors"
    ),
    "fields": lambda: plots.receptive_fields(
        [np.eye(33) > 0] * 3, [np.eye(33)] * 3, labels=["a", "b", "c"], title="fields"
    ),
    "losses": lambda: plots.losses([LOSSES], ["SGD"], title="loss"),
}


def is_bar(axes):
    return hasattr(axes, "_colorbar")


def every_axes(figure):
    return [a for axes in figure.axes for a in (axes, *axes.child_axes)]


@functools.cache
def drawn(name):
    """A figure, which tests only look at."""
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    return figure


def boxes(figure):
    """The panels as they are drawn, in pixels: left, bottom, width, height."""
    panels = [axes for axes in figure.axes if not is_bar(axes)]
    return np.array([axes.get_window_extent().bounds for axes in panels])


@pytest.mark.parametrize("name", FIGURES)
def test_panels_have_one_size_and_are_in_line(name):
    left, bottom, width, height = boxes(drawn(name)).T
    single = np.isclose(width, width.min(), atol=0.01)
    assert np.ptp(height) < 0.01
    # those that span several columns begin and end where others do
    rights = (left + width)[single].round(2)
    lefts = left[single].round(2)
    for start, end in zip(left[~single].round(2), (left + width)[~single].round(2), strict=True):
        assert start in lefts
        assert end in rights
    steps = np.diff(np.unique(lefts))
    assert steps.size == 0 or np.ptp(steps) < 0.02
    steps = np.diff(np.unique(bottom.round(2)))
    assert steps.size == 0 or np.ptp(steps) < 0.02


def texts(figure):
    """What is written, with its box in pixels."""
    found = [figure._suptitle]
    for axes in every_axes(figure):
        found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if low <= tick.get_loc() <= high:
                    found += [tick.label1, tick.label2]
        if axes.get_legend() is not None:
            found += axes.get_legend().get_texts()
    shown = [text for text in found if text.get_visible() and text.get_text()]
    return [(text.get_text(), text.get_window_extent()) for text in shown]


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_touches_another_or_leaves_the_figure(name):
    figure = drawn(name)
    width, height = figure.bbox.size
    found = texts(figure)
    assert len(found) > 5
    for text, box in found:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0, text
    for (one, a), (other, b) in itertools.combinations(found, 2):
        # as in Bbox.overlaps, but for less than a pixel
        apart = min(a.x1, b.x1) - max(a.x0, b.x0) < 1 or min(a.y1, b.y1) - max(a.y0, b.y0) < 1
        assert apart, f"{one!r} touches {other!r}"


@pytest.mark.parametrize("name", FIGURES)
def test_a_signed_picture_has_a_bar_with_limits_about_zero(name):
    figure = drawn(name)
    signed = [
        axes for axes in figure.axes if axes.images and axes.images[0].get_cmap().name == "PuOr"
    ]
    for axes in signed:
        bars = [a for a in axes.child_axes if is_bar(a)] or [a for a in figure.axes if is_bar(a)]
        (bar,) = bars
        low, high = bar.get_ylim()
        assert (low, high) == axes.images[0].get_clim()
        assert low == -high < 0
        ticks = bar.get_yticks()
        assert len(ticks) >= 3
        np.testing.assert_allclose(ticks, -ticks[::-1], atol=1e-9 * high)
    names = ("feature maps", "errors", "fields", "losses", "many maps")
    assert signed or name in names


def test_kernels_and_residuals_have_their_own_bars():
    figure = drawn("colour")
    labels = [bar.get_ylabel() for bar in every_axes(figure) if is_bar(bar)]
    assert labels == ["level", "weight", "weight", "weight"]
    bars = [bar for bar in every_axes(drawn("square")) if is_bar(bar)]
    assert [bar.get_ylabel() for bar in bars] == ["level", "weight (times 1e-6)"]


def test_a_bar_is_as_high_as_its_picture_and_beside_it():
    figure = plots.before_after(
        np.eye(40, 60), np.eye(3), np.eye(38, 58) - 0.5, title="a square beside a wide image"
    )
    figure.draw_without_rendering()
    axes = figure.axes[1]
    picture, bar = axes.images[0].get_window_extent(), axes.child_axes[0].get_window_extent()
    assert abs(bar.height - picture.height) < 0.1
    assert 0 < bar.x0 - picture.x1 < 0.15 * figure.dpi
    assert picture.width < axes.get_window_extent().width - 10  # the picture alone is narrower


def test_a_learned_bound_has_a_tick_at_its_whole_number():
    for bound in (1.9999, 2.0, 2.0001):
        bar = plots.kernels(np.array([bound, -1.0]).reshape(1, 2, 1, 1), title="").axes[-1]
        shown = [text.get_text() for text in bar.get_yticklabels()]
        assert (shown[0], shown[-1]) == ("-2", "2")
        assert np.abs(bar.get_yticks()).max() <= bound


def test_the_bar_of_a_row_is_beside_it():
    *_, lower, bar = drawn("fields").axes
    assert bar.get_position().y0 == pytest.approx(lower.get_position().y0)
    assert bar.get_position().y1 == pytest.approx(lower.get_position().y1)


def test_what_is_zero_is_white_among_differences():
    image = (
        plots.errors([np.array([[0, 3.0], [1e-9, 0]])], labels=["a"], title="").axes[0].images[0]
    )
    np.testing.assert_array_equal(image.get_array().mask, [[True, False], [False, True]])


def test_what_goes_beyond_the_colours_is_told():
    y = RNG.normal(size=(50, 50, 2))
    y[3, 4, 1] = -1e3
    bar = plots.feature_maps(y, title="maps").axes[-1]
    assert bar._colorbar.extend == "both"
    assert bar.get_ylim()[1] < 10
    bar = plots.feature_maps(np.clip(y, -1, 1), title="maps").axes[-1]
    assert (bar._colorbar.extend, bar.get_ylim()) == ("neither", (-1, 1))


def pixel(axes):
    """Width and height of a pixel of a picture on the screen, and the picture's middle."""
    corners = axes.transData.transform([(0, 0), (1, 1)])
    return *np.abs(corners[1] - corners[0]), *axes.images[0].get_window_extent().get_points().mean(
        0
    )


def test_pixels_before_and_after_have_one_size():
    figure = drawn("grey")
    before, after, prediction, residual = (pixel(axes) for axes in figure.axes[:4])
    assert before[0] == pytest.approx(before[1], rel=1e-6)
    for other in (after, prediction, residual):
        assert other[:2] == pytest.approx(before[:2], rel=1e-6)
    # an output lies at the middle of its window
    panels = [axes.get_window_extent().get_points().mean(0) for axes in figure.axes[:2]]
    for axes, middle in zip((before, after), panels, strict=True):
        assert axes[2:] == pytest.approx(middle, abs=0.02)


@pytest.mark.parametrize(("shape", "grid"), [((GRIDDED, 8), True), ((GRIDDED + 1, 8), False)])
def test_small_pictures_have_a_grid_and_large_ones_a_scale(shape, grid):
    axes = plots.errors([np.ones(shape)], labels=[""], title="").axes[0]
    assert len(axes.collections) == 2 * grid
    if grid:
        down, across = (len(lines.get_segments()) for lines in axes.collections)
        assert (down, across) == (shape[1] - 1, shape[0] - 1)
    told = [text.get_text() for text in axes.texts]
    assert told == ["40x8 pixels" if grid else "2 pixels"]
    assert len(axes.lines) == (not grid)


def test_the_scale_has_its_length():
    figure = drawn("grey")
    for axes in figure.axes[:4]:
        (told,), (line,) = axes.texts, axes.lines
        assert told.get_text() == "20 pixels"
        assert np.ptp(line.get_xdata()) == 20
    found = [nice_length(most) for most in (0.2, 1, 1.9, 4.9, 5, 49, 99.9, 100, 12345)]
    assert found == [1, 1, 1, 2, 5, 20, 50, 100, 10000]


def test_numbers_are_in_a_kernel_as_far_as_they_can_be_read():
    for size, decimals in (((3, 3), 3), ((5, 7), 3), ((9, 9), 2), ((21, 17), None)):
        axes = learning((90, 120), size).axes[4]
        shown = [text.get_text() for text in axes.texts]
        if decimals is None:
            assert shown == []
        else:
            assert len(shown) == np.prod(size)
            assert {len(text.partition(".")[2]) for text in shown} == {decimals}
            assert min(text.get_fontsize() for text in axes.texts) > 5

    # without a minus there is room for one more
    gaussian = next(axes for axes in drawn("restored").axes if axes.get_title() == "blur, 9x9")
    assert {len(text.get_text().partition(".")[2]) for text in gaussian.texts} == {3}


def test_numbers_and_ticks_of_kernels_are_in_units_of_one_power_of_ten():
    """Also where some kernels have one decimal fewer, to fit, or are much smaller."""
    w = np.stack([np.full((9, 9), 0.012), np.full((9, 9), -0.011), np.full((9, 9), 3e-6)], -1)
    w[0, 0] = 0.01234, -0.01234, 1e-6
    figure = plots.kernels(w[:, :, None], title="a layer")
    *kernels, bar = figure.axes
    assert bar.get_ylabel() == "weight (times 1e-2)"
    assert [text.get_text() for text in bar.get_yticklabels()] == [
        "-1.0",
        "-0.5",
        "0.0",
        "0.5",
        "1.0",
    ]
    for axes, plane in zip(kernels, np.moveaxis(w, -1, 0), strict=True):
        shown = [float(text.get_text()) for text in axes.texts]
        assert shown == [] or np.allclose(shown, 100 * plane.ravel(), atol=0.0051)
    axes = Figure(figsize=(6, 5)).subplots()
    assert plots.draw_kernel(axes, w[..., 1], "k", bound=0.0124) == -2
    assert axes.texts[5].get_text() == "-1.100"


@pytest.mark.parametrize("losses", [[3, 1.9], [1, 1], [40, 1e-9], [5e-4, 3.1e-4], [7, 0.5]])
def test_loss_ticks_can_be_read_on_any_scale(losses):
    figure = plots.losses([losses], ["SGD"], title="loss")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    shown = [
        tick.label1.get_text()
        for tick in axes.yaxis.get_major_ticks()
        if low <= tick.get_loc() <= high and tick.label1.get_text()
    ]
    assert 2 <= len(shown) <= 12


def test_parts_are_drawn_into_any_axes():
    figure = Figure(figsize=(5, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.draw_kernel(left, np.eye(3), "a kernel", bound=1.0)
    plots.draw_image(right, np.eye(50), "an image", limits=(0, 1))
    figure.draw_without_rendering()
    for axes in (left, right):
        width, height = axes.images[0].get_window_extent().size
        assert width == pytest.approx(height, rel=1e-6)
