"""`jaxconv learn` on images that are clipped, masked or broken, and on several pairs."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from jaxconv._files import images
from jaxconv.cli.app import app
from jaxconv.cli.pairs import parse_pair
from jaxconv.cli.usable import Limits, Reading, clipped, count_ends, own_limits, parse_limits

SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def _learn(*arguments):
    return CliRunner().invoke(app, ["learn", *map(str, arguments), "--json"])


@pytest.fixture(scope="module")
def photo():
    """Stored values of a part of a photograph, without its few ends of the range."""
    levels = np.rint(255 * images.sample("camera")[60:220, 100:300]).astype(np.int64)
    return np.clip(levels, 1, 254)


def _filtered(x, kernel):
    return ndimage.correlate(x, kernel, mode="nearest")


def _png(path, levels, dtype=np.uint8):
    Image.fromarray(np.asarray(levels, dtype)).save(path)
    return path


def _pair(folder, x, y, name=""):
    return _png(folder / f"before{name}.png", x), _png(folder / f"after{name}.png", y)


def _more(pair):
    return "--pair", f"{pair[0]}:{pair[1]}"


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(SHARPEN, id="sharpen", marks=pytest.mark.thorough),
        pytest.param(SOBEL, id="sobel"),
    ],
)
def test_clipped_images_give_the_kernel(tmp_path, photo, kernel):
    stored = np.clip(_filtered(photo, kernel), 0, 255)
    before, after = _pair(tmp_path, photo, stored)
    result = _learn(before, after, "--kernel", 3, "--exact", "--out", tmp_path / "out")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    for each in (found["learned"][0]["kernel"], found["exact"][0]["kernel"]):
        np.testing.assert_allclose(each, kernel, atol=5e-5)
    counts = [int(np.sum(stored == level)) for level in (0, 255)]
    (pair,) = found["pairs"]
    assert pair["ends"] == {"levels": [0, 255], "counts": counts, "many": [True, True]}
    inner = stored[1:-1, 1:-1]
    used = int(np.sum((inner > 0) & (inner < 255)))
    assert found["outputs"] == {"used": used, "total": inner.size}
    assert found["exact"][0]["outputs"] == used
    assert found["learned"][0]["residuals"]["noise"]
    assert result.stderr == (
        f"jaxconv learn: {after}: {counts[0]:,} of {stored.size:,} values are 0 and "
        f"{counts[1]:,} are 255, at the ends of uint8's range; they are left out as clipped "
        "(--saturated none uses them)\n"
    )


def test_clipped_values_that_are_used_are_told_by_the_residuals(tmp_path, photo):
    before, after = _pair(tmp_path, photo, np.clip(_filtered(photo, SOBEL), 0, 255))
    out = tmp_path / "out"
    result = _learn(before, after, "--kernel", 3, "--saturated", "none", "--out", out)
    assert result.exit_code == 0
    (learned,) = json.loads(result.stdout)["learned"]
    assert np.abs(np.array(learned["kernel"]) - SOBEL).max() > 0.5
    assert not learned["residuals"]["noise"]
    assert result.stderr.startswith(
        "jaxconv learn: the residuals are not noise: those of neighbouring outputs correlate (+0."
    )


def test_few_values_at_the_ends_are_used_and_counted(tmp_path, photo):
    x = photo.copy()
    x[5, 5] = x[70, 80] = 255
    before, after = _pair(tmp_path, x, x)
    result = CliRunner().invoke(
        app, ["learn", str(before), str(after), "--kernel", "3", "--out", str(tmp_path / "out")]
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert "before: after the filter 2 of 32,000 values are 255, the ends of the range" in (
        result.stdout
    )


def test_clipped_values_before_the_filter_are_told_and_used(tmp_path, photo):
    x = np.clip(2 * photo - 100, 0, 255)
    before, after = _pair(tmp_path, x, np.rint(_filtered(x, np.full((3, 3), 1 / 9))))
    result = _learn(before, after, "--kernel", 3, "--out", tmp_path / "out")
    low, high = (int(np.sum(x == level)) for level in (0, 255))
    told = [line for line in result.stderr.splitlines() if "before.png" in line.split(": ")[1]]
    assert told == [
        f"jaxconv learn: {before}: {low:,} of 32,000 values are 0 and {high:,} are 255, at the "
        f"ends of uint8's range; they are used, which is right if {after} was computed from this "
        "file; if both were recorded, leave them out by --saturated 0:255"
    ]
    (learned,) = json.loads(result.stdout)["learned"]
    np.testing.assert_allclose(learned["kernel"], 1 / 9, atol=2e-3)


def test_a_saturated_sensor_is_left_out_in_both_images(tmp_path, photo):
    """12 bits in 16: both recordings of a scene stop at 4095, inside the type's range."""
    scene = 20 * photo
    seen = [np.clip(scene, 0, 4095), np.clip(_filtered(scene, SHARPEN), 0, 4095)]
    before, after = tmp_path / "before.tif", tmp_path / "after.tif"
    for path, levels in zip((before, after), seen, strict=True):
        tifffile.imwrite(path, levels.astype(np.uint16))
    plain = _learn(before, after, "--kernel", 3, "--out", tmp_path / "out")
    count = int(np.sum(seen[1] == 4095))
    assert (
        f"jaxconv learn: {after}: {count:,} of 32,000 values are 4095, its largest; if they are "
        "clipped, leave them out by --saturated 4095\n"
    ) in plain.stderr
    (learned,) = json.loads(plain.stdout)["learned"]
    assert np.abs(np.array(learned["kernel"]) - SHARPEN).max() > 0.1
    told = _learn(before, after, "--kernel", 3, "--saturated", 4095, "--out", tmp_path / "out")
    found = json.loads(told.stdout)
    np.testing.assert_allclose(found["learned"][0]["kernel"], SHARPEN, atol=5e-5)
    windows = np.lib.stride_tricks.sliding_window_view(seen[0] < 4095, (3, 3)).all((2, 3))
    inner = seen[1][1:-1, 1:-1]
    assert found["outputs"]["used"] == np.sum(windows & (inner < 4095) & (inner > 0))


def test_nan_is_missing(tmp_path, photo):
    x, y = photo / 255, _filtered(photo / 255, SOBEL)
    x[20:23, 30], y[50, 60:63] = np.nan, np.nan
    y[7, 7] = np.inf
    before, after = tmp_path / "before.tif", tmp_path / "after.tif"
    tifffile.imwrite(before, x.astype(np.float32))
    tifffile.imwrite(after, y.astype(np.float32))
    result = _learn(before, after, "--kernel", 3, "--out", tmp_path / "out")
    found = json.loads(result.stdout)
    np.testing.assert_allclose(found["learned"][0]["kernel"], SOBEL, atol=5e-5)
    total = 158 * 198
    assert found["outputs"] == {"used": total - 5 * 3 - 4, "total": total}
    assert result.stderr == (
        f"jaxconv learn: {before}: 3 of 32,000 values are NaN or infinite; they are left out\n"
        f"jaxconv learn: {after}: 4 of 32,000 values are NaN or infinite; they are left out\n"
    )


def test_masks_leave_out_outputs_and_what_reads_bad_pixels(tmp_path, photo):
    x, y = photo.copy(), np.clip(_filtered(photo, SHARPEN), 1, 254)
    y[40:50, 60:90] = 7  # a label in one image
    bad = np.ones(x.shape)
    x[100, 100], bad[100, 100] = 200, 0  # a hot pixel of the other
    good = np.ones(y.shape)
    good[40:50, 60:90] = 0
    good[_filtered(photo, SHARPEN) != y] = 0
    before, after = _pair(tmp_path, x, y)
    mask, hot = _png(tmp_path / "mask.png", good), _png(tmp_path / "hot.png", 255 * bad)
    options = ("--kernel", 3, "--out", tmp_path / "out")
    result = _learn(before, after, "--mask", mask, "--mask-before", hot, *options)
    found = json.loads(result.stdout)
    np.testing.assert_allclose(found["learned"][0]["kernel"], SHARPEN, atol=5e-5)
    kept = good[1:-1, 1:-1].copy()
    kept[98:101, 98:101] = 0
    assert found["outputs"]["used"] == kept.sum()
    # a mask of the size of a cut image, too
    cut = _png(tmp_path / "cut.png", y[1:-1, 1:-1])
    small = _png(tmp_path / "small.png", good[1:-1, 1:-1])
    again = json.loads(_learn(before, cut, "--mask", small, "--mask-before", hot, *options).stdout)
    assert again["outputs"] == found["outputs"]
    assert again["learned"][0]["kernel"] == found["learned"][0]["kernel"]


@pytest.mark.thorough
def test_each_colour_has_its_own_clipped_values(tmp_path):
    x = np.rint(255 * images.sample("coffee")[100:200, 200:320])
    y = np.stack([_filtered(x[..., n], SHARPEN) for n in range(3)], -1)
    before, after = _pair(tmp_path, x, np.clip(y, 0, 255))
    result = _learn(before, after, "--kernel", 3, "--out", tmp_path / "out")
    found = json.loads(result.stdout)
    for learned in found["learned"]:
        np.testing.assert_allclose(learned["kernel"], SHARPEN, atol=5e-4)
    one = _learn(before, after, "--kernel", 3, "--one-kernel", "--out", tmp_path / "out")
    np.testing.assert_allclose(json.loads(one.stdout)["learned"][0]["kernel"], SHARPEN, atol=5e-4)


def test_several_pairs_make_one_kernel(tmp_path, photo):
    """Each pair alone is stripes, which determine 3 of 9 weights; together they determine 5."""
    stripes = [np.tile(photo[50], (60, 1)), np.tile(photo[:, 90:91], (1, 70))]
    kernel = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 0]]) / 3
    pairs = [
        _pair(tmp_path, x, np.rint(_filtered(x.astype(float), kernel)), name=n)
        for n, x in enumerate([*stripes, photo])
    ]
    options = ("--kernel", 3, "--out", tmp_path / "out")
    one = _learn(*pairs[0], *options)
    assert "determines only 3 of 9 independent weights" in one.stderr
    two = _learn(*pairs[0], *_more(pairs[1]), *options)
    assert "determines only 5 of 9 independent weights" in two.stderr
    mask = [
        _png(tmp_path / f"mask{n}.png", np.ones(x.shape)) for n, x in enumerate([*stripes, photo])
    ]
    masks = [part for path in mask for part in ("--mask", path)]
    more = (*_more(pairs[1]), *_more(pairs[2]), *masks)
    found = json.loads(_learn(*pairs[0], *more, *options, "--exact").stdout)
    np.testing.assert_allclose(found["learned"][0]["kernel"], kernel, atol=5e-3)
    np.testing.assert_allclose(found["exact"][0]["kernel"], kernel, atol=5e-3)
    assert [pair["image"] for pair in found["pairs"]] == ["before0", "before1", "before2"]
    assert found["outputs"]["total"] == 58 * 198 + 158 * 68 + 158 * 198


def test_a_run_is_not_resumed_with_another_mask(tmp_path, photo):
    before, after = _pair(tmp_path, photo, np.clip(_filtered(photo, SOBEL), 0, 255))
    options = ("--kernel", 3, "--out", tmp_path / "out", "--checkpoint", tmp_path / "kept")
    assert _learn(before, after, *options).exit_code == 0
    again = _learn(before, after, *options, "--resume", "--saturated", "none")
    assert again.exit_code == 2
    assert "/grey holds a run with the outputs in use bool (1, 158, 198) " in again.stderr
    assert again.stderr.endswith(
        ", this one has all: repeat that one's settings, or name another folder\n"
    )


def _reading(levels, dtype=np.uint8):
    levels = np.asarray(levels, dtype)
    return Reading(path="x", pixels=levels, present=np.isfinite(levels), levels=levels)


def test_what_counts_as_many():
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, 20_000)  # 78 of each level, 0.4 %: more than 0.1 %
    assert count_ends(_reading(smooth)).many == (True, True)
    deep = rng.integers(0, 65_536, 200_000)
    assert count_ends(_reading(deep, np.uint16)).many == (False, False)
    piled = np.append(deep, np.full(20, 65_535))
    assert count_ends(_reading(piled, np.uint16)).many == (False, True)
    nine = rng.integers(0, 65_000, 200_000)
    assert count_ends(_reading(np.append(nine + 10, [0] * 9), np.uint16)).many == (False, False)
    ten = np.append(nine + 10, [0] * 10)
    assert count_ends(_reading(ten, np.uint16)).many == (True, False)
    assert count_ends(_reading(np.ones(9), np.float32)) is None


def test_limits_inside_the_range_are_noticed():
    rng = np.random.default_rng(0)
    smooth = rng.normal(2000, 300, 20_000)
    assert own_limits(_reading(smooth, np.uint16)) == []
    assert own_limits(_reading(np.minimum(smooth, 2500), np.uint16))[0][0] == 2500
    assert own_limits(_reading(np.maximum(smooth, 1500.5), np.float32))[0][0] == 1500.5
    assert own_limits(_reading(smooth, np.float32)) == []
    assert own_limits(_reading(np.minimum(smooth / 8, 255))) == []  # an end of the range


def test_given_limits_replace_the_rule():
    levels = np.repeat([0, 100, 200, 255], 50)
    image = _reading(levels)
    ends = count_ends(image)
    for limits, low, high in (
        (Limits(), True, True),
        (Limits(high=200), True, False),
        (Limits(low=0), False, True),
    ):
        found = clipped(image, ends, limits)
        assert (found[0], found[-1], found[60]) == (low, high, False)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (None, Limits()),
        ("255", Limits(high=255.0)),
        ("0:4095", Limits(low=0.0, high=4095.0)),
        ("-0.5:", Limits(low=-0.5)),
        (":0.9", Limits(high=0.9)),
        ("None", Limits(none=True)),
    ],
)
def test_the_option_saturated(text, limits):
    assert parse_limits(text) == limits


def test_the_option_pair(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [path.name for path in parse_pair("a.png:b.png")] == ["a.png", "b.png"]
    for name in ("a:1.png", "b.png"):
        (tmp_path / name).write_text("")
    assert [path.name for path in parse_pair("a:1.png:b.png")] == ["a:1.png", "b.png"]
    for text in ("a.png", "a.png:", ":b.png", "x:y:z"):
        with pytest.raises(
            ValueError, match=r"^--pair must be BEFORE:AFTER, two image files; got "
        ):
            parse_pair(text)


def test_colours_clip_apart(tmp_path, photo):
    """What is clipped in one colour is left out of that colour's kernel alone."""
    x = np.stack([photo, photo[::-1], photo[:, ::-1]], -1)
    y = np.stack([_filtered(x[..., c], SHARPEN) for c in range(3)], -1)
    y = np.stack([y[..., 0], 60 + y[..., 1] // 4, 60 + y[..., 2] // 4], -1)
    stored = np.clip(y, 0, 255)
    before, after = _pair(tmp_path, x, stored)
    result = _learn(before, after, "--kernel", 3, "--exact", "--out", tmp_path / "out")
    found = json.loads(result.stdout)
    np.testing.assert_allclose(found["exact"][0]["kernel"], SHARPEN, atol=5e-5)
    used = [np.sum((c[1:-1, 1:-1] > 0) & (c[1:-1, 1:-1] < 255)) for c in np.moveaxis(stored, -1, 0)]
    assert [each["outputs"] for each in found["exact"]] == used
    assert used[0] < used[1] == used[2] == stored[1:-1, 1:-1, 0].size


def test_a_colour_that_is_clipped_everywhere(tmp_path, photo):
    x = np.stack([photo, photo[::-1], photo[:, ::-1]], -1)
    y = x.copy()
    y[..., 0] = 255
    before, after = _pair(tmp_path, x, y)
    given = (before, after, "--kernel", 3, "--out", tmp_path / "out")
    result = _learn(*given)
    assert result.exit_code == 0
    assert result.stderr.startswith(
        f"jaxconv learn: {after}: {photo.size:,} of {y.size:,} values are 255, at the ends of "
        "uint8's range; they are left out as clipped (--saturated none uses them); in red too few "
        "others would remain to learn from, so that they are used there\n"
    )
    # one kernel of all colours has enough in the others
    result = _learn(*given, "--one-kernel", "--exact")
    (exact,) = json.loads(result.stdout)["exact"]
    np.testing.assert_allclose(np.array(exact["kernel"])[1, 1], 1, atol=5e-5)
    assert exact["outputs"] == 2 * (photo.shape[0] - 2) * (photo.shape[1] - 2)
    assert "in red" not in result.stderr
    # masked, nothing is left of it
    mask = np.full(y.shape, 255)
    mask[..., 0] = 0
    result = _learn(*given, "--mask", _png(tmp_path / "mask.png", mask))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "jaxconv learn: no output of red is left to learn its kernel from: every value is missing, "
        "masked or beyond a limit, or needs one that is; --one-kernel learns one kernel from all "
        "colours\n"
    )


def test_a_pile_in_one_colour_is_seen_beside_smooth_ones():
    """255 is 60 times in red and neighbouring levels hardly; in the others they are as many."""
    levels = np.full((200, 300, 3), 128, np.uint8)
    levels[0, :60, 0] = 255
    for step in range(5):
        levels[1 + step, :40, 1:] = 255 - step
    known = np.ones(levels.shape, bool)
    image = Reading(path="x", pixels=levels / 255, present=known, levels=levels)
    ends = count_ends(image)
    assert ends.many == (False, True)
    assert ends.counts == (0, 140)
    assert ends.total == levels.size
