"""What `jaxconv apply` says and leaves on the disk, whole and in tiles alike."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from test_axes import named, ngff, run, store, values

from jaxconv._files import tiff_target
from jaxconv.tiles import apply_tiled

BOTH = pytest.mark.parametrize("tile", [(), ("--tile", 16)], ids=["whole", "tiles"])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("x.tif", values("uint8", 40, 50))
    store(tmp_path / "x.zarr", values("uint8", 40, 50))
    store(tmp_path / "plain.zarr", values("float32", 6, 20, 30))
    named(tmp_path / "stack.zarr", values("float32", 6, 20, 30), ["time", "y", "x"])
    named(tmp_path / "odd.zarr", values("float32", 6, 20), ["a", "b"])
    ngff(tmp_path / "group.zarr", [values("uint8", 20, 30)], "yx", "0.4")
    (tmp_path / "hcs.zarr" / "A").mkdir(parents=True)
    (tmp_path / "hcs.zarr" / ".zgroup").write_text("{}")
    pages = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite("pages.tif", values("uint8", 5, 20, 30), **pages)
    np.save("volume.npy", np.ones((2, 3, 3)))
    np.save("five.npy", np.ones((5, 3, 3)))
    np.save("four.npy", np.ones((2, 2, 3, 3)))
    return tmp_path


REFUSALS = {
    "plain.zarr y.zarr --kernel box": "plain.zarr: does not say which of its axes (6, 20, 30) is "
    "what; say it: --axes 'ZYX' for a volume or a stack, 'CYX' or 'YXC' for channels",
    "plain.zarr y.zarr --kernel volume.npy": "plain.zarr: does not say which of its axes (6, 20, "
    "30) is what; say it: --axes 'ZYX' for a volume or a stack, 'CYX' or 'YXC' for channels",
    "plain.zarr y.zarr --kernel box --axes ZY": "--axes 'ZY' must have one letter for each of the "
    "3 axes of (6, 20, 30): Z, Y, X for space, C or S for channels, T or any other for a stack",
    "plain.zarr y.zarr --kernel box --axes YYX": "--axes 'YYX' has Y twice",
    "plain.zarr y.zarr --kernel box --axes ZYC": "box is a kernel over Y, X, but the axes of the "
    "image are ZYC; --axes names them",
    "plain.zarr y.zarr --kernel box --page 1": "plain.zarr: does not say which of its axes (6, 20, "
    "30) is what, so that --page 1 is not one; name its dimensions",
    "odd.zarr y.tif --kernel volume.npy": "volume has a kernel for each of 2 channels, but the "
    "image is grey",
    "pages.tif y.tif --kernel volume.npy": "volume has a kernel for each of 2 channels, but the "
    "image is grey; for a volume, name its axes: --axes ZYX",
    "stack.zarr y.zarr --kernel five.npy --kernel-axes ZYX": "five is a kernel over Z, Y, X, but "
    "the axes of the image are TYX; --axes names them",
    "pages.tif y.tif --kernel volume.npy --kernel-axes YX": "volume.npy: contains an array of "
    "shape (2, 3, 3); expected the axes YX",
    "x.tif y.tif --kernel box --kernel-axes YX": "--kernel-axes is for a .npy file; box says what "
    "its axes are",
    "x.tif y.tif --kernel volume.npy --kernel-axes XY": "--kernel-axes must be one of YX, CYX, "
    "ZYX, CZYX; got 'XY'",
    "pages.tif y.tif --kernel box --page 5": "pages.tif: holds 5 pages, from 0; --page 5 is not "
    "there",
    "pages.tif y.tif --kernel box --page -1": "--page must be 0 or more, got -1",
    "pages.tif y.tif --kernel box --level 1": "pages.tif: is no pyramid; --level 1 is not there",
    "stack.zarr y.zarr --kernel box --page 6": "stack.zarr: holds 6 pages, from 0; --page 6 is not "
    "there",
    "group.zarr y.zarr --kernel box --level 1": "group.zarr: has 1 level, from 0; --level 1 is not "
    "there",
    "hcs.zarr y.zarr --kernel box": "hcs.zarr: is a group, not an array; name one of its arrays: A",
    "group.zarr/0 --kernel box": "group.zarr/0 has no suffix to write another by; name the OUTPUT "
    "too",
    "pages.tif y.tif --kernel volume.npy --axes ZYX --tile 8 --method magic": "--method 'magic' "
    "must be one of",
    "x.tif y.tif --kernel four.npy": "four has a kernel for each of 2 channels, but the image is "
    "grey",
}


@pytest.mark.parametrize("arguments", REFUSALS)
def test_what_is_ambiguous_names_the_option(folder, arguments):
    there = sorted(folder.iterdir())
    for tile in ((), ("--tile", 16)):
        if tile and "--tile" in arguments:
            continue
        result = run(*arguments.split(), *tile)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"jaxconv apply: {REFUSALS[arguments]}")
        assert len(result.stderr.splitlines()) == 1
        assert sorted(folder.iterdir()) == there


def test_axes_of_a_path_for_the_function(folder):
    told = (
        r"^apply_tiled: kernel has rank 2, and the source does not say which of its axes "
        r"\(6, 20, 30\) is what; say it: axes='ZYX' for a volume or a stack, 'CYX' or 'YXC' for "
        r"channels$"
    )
    with pytest.raises(ValueError, match=told):
        apply_tiled("plain.zarr", np.ones((3, 3)), "y.zarr", tile=8)
    with pytest.raises(
        ValueError,
        match=r"^apply_tiled: kernel has rank 3; the source \(5, 20, 30"
        r"\), axes QYX, takes rank 2; if they are a volume, say it: axes='ZYX'$",
    ):
        apply_tiled("pages.tif", np.ones((3, 3, 3)), "y.tif", tile=8)
    with pytest.raises(TypeError, match=r"^apply_tiled: axes=3 must be a text with one letter"):
        apply_tiled("plain.zarr", np.ones((3, 3)), "y.zarr", tile=8, axes=3)
    with pytest.raises(TypeError, match=r"^apply_tiled: page='1' must be an integer$"):
        apply_tiled("pages.tif", np.ones((3, 3)), "y.tif", tile=8, page="1")
    with pytest.raises(ValueError, match=r"^apply_tiled: groups=2 needs a kernel \(\*kernel, in"):
        apply_tiled("plain.zarr", np.ones((3, 3)), "y.zarr", tile=8, axes="CYX", groups=2)


@BOTH
@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_an_output_that_exists_is_replaced_when_told(folder, suffix, tile):
    out = folder / f"y.{suffix}"
    arguments = ("x.tif", out, "--kernel")
    assert run(*arguments, "box", *tile).exit_code == 0
    before = sorted(folder.rglob("*"))
    told = f"jaxconv apply: {out} exists; --overwrite replaces it"
    told += ", --resume continues an interrupted run" if tile else ""
    assert run(*arguments, "gaussian", *tile).stderr == f"{told}, or name another file\n"
    assert sorted(folder.rglob("*")) == before
    result = run(*arguments, "gaussian", "--overwrite", *tile)
    assert result.exit_code == 0, result.stderr
    fresh = run("x.tif", folder / f"z.{suffix}", "--kernel", "gaussian", *tile)
    assert fresh.exit_code == 0
    if suffix == "tif":
        np.testing.assert_array_equal(tifffile.imread(out), tifffile.imread(folder / "z.tif"))
    assert run("x.tif", "x.tif", "--kernel", "box", "--overwrite", *tile).stderr == (
        "jaxconv apply: x.tif is the image itself; name another file\n"
    )


@BOTH
def test_a_folder_that_is_no_zarr_is_not_removed(folder, tile):
    (folder / "y.zarr").mkdir()
    (folder / "y.zarr" / "mine").write_text("mine")
    result = run("x.tif", "y.zarr", "--kernel", "box", "--overwrite", *tile)
    assert result.stderr.startswith(
        "jaxconv apply: y.zarr: is a folder, but not a zarr; it is not removed"
    )
    assert (folder / "y.zarr" / "mine").read_text() == "mine"


def test_overwriting_and_resuming_exclude_each_other(folder):
    result = run("x.tif", "y.tif", "--kernel", "box", "--tile", 8, "--overwrite", "--resume")
    assert result.stderr == (
        "jaxconv apply: --overwrite begins again, --resume continues: give one of them\n"
    )
    told = "^apply_tiled: overwrite=True begins again, resume=True continues$"
    with pytest.raises(ValueError, match=told):
        apply_tiled("x.tif", np.ones((3, 3)), "y.tif", tile=8, overwrite=True, resume=True)


@BOTH
def test_a_failure_leaves_nothing_that_is_of_no_use(folder, tile):
    """Values that the result cannot hold, found at the end; a damaged file, found at once."""
    tifffile.imwrite("half.tif", np.full((40, 50), 6e4, np.float16))
    tifffile.imwrite("cut.tif", values("uint8", 40, 50), compression="zlib")
    data = (folder / "cut.tif").read_bytes()
    with tifffile.TiffFile("cut.tif") as file:
        begin = file.pages[0].dataoffsets[0]
    (folder / "cut.tif").write_bytes(data[: begin + 5] + b"xxxxxxxx" + data[begin + 13 :])
    np.save("twice.npy", np.full((1, 1), 2.0))
    there = sorted(folder.iterdir())
    for image, kernel in (("half.tif", "twice.npy"), ("cut.tif", "box")):
        result = run(image, "y.tif", "--kernel", kernel, *tile)
        assert result.exit_code == 2
        assert sorted(folder.iterdir()) == there


def test_a_run_in_tiles_that_fails_midway_is_kept_and_names_the_options(folder, monkeypatch):
    write, left = tiff_target.TiffTarget.write, [3]

    def interrupted(self, box, values):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write(self, box, values)

    arguments = ("x.tif", "y.tif", "--kernel", "box", "--tile")
    with monkeypatch.context() as patch:
        patch.setattr(tiff_target.TiffTarget, "write", interrupted)
        assert run(*arguments, 16).stderr == "jaxconv apply: No space left on device\n"
    assert (folder / "y.tif.unfinished").exists()
    for options, told in (
        ((8, "--resume"), "--tile"),
        ((16, "--resume", "--padding-mode", "circular"), "--padding-mode"),
        ((16, "--resume", "--scale", "stretch"), "--scale"),
        ((16, "--resume", "--cut"), "--cut, --padding-mode"),
    ):
        expected = f"y.tif was begun with another {told}; use the same again, --overwrite, or name "
        assert run(*arguments, *options).stderr == f"jaxconv apply: {expected}another file\n"
    tifffile.imwrite("x.tif", values("uint8", 40, 50))
    told = run(*arguments, 16, "--resume").stderr
    assert told.startswith("jaxconv apply: y.tif was begun with another IMAGE (it has changed); ")
    assert run(*arguments, 16, "--overwrite").exit_code == 0
    assert not (folder / "y.tif.unfinished").exists()


@BOTH
def test_the_learned_bias_is_added_and_told(folder, tile):
    tifffile.imwrite("zero.tif", np.zeros((20, 30), np.float32))
    csv = "# grey, bias +0.125\n0,0,0\n0,1,0\n0,0,0\n"
    (folder / "learned").mkdir()
    for name, text in (("kernel.csv", csv.encode()), ("mark.csv", b"\xef\xbb\xbf" + csv.encode())):
        (folder / "learned" / name).write_bytes(text)
    np.save("learned/kernel.npy", np.pad([[1.0]], 1))
    for kernel in ("learned", "learned/kernel.csv", "learned/mark.csv"):
        result = run("zero.tif", "y.tif", "--kernel", kernel, "--overwrite", *tile)
        assert " (3x3) and its learned bias +0.125, symmetric; " in result.stdout
        np.testing.assert_array_equal(tifffile.imread("y.tif"), np.full((20, 30), 0.125))
    tifffile.imwrite("levels.tif", np.zeros((20, 30), np.uint8))
    result = run("levels.tif", "y.tif", "--kernel", "learned", "--overwrite", *tile)
    assert " (3x3) and its learned bias +31.9 levels, symmetric; " in result.stdout
    np.testing.assert_array_equal(tifffile.imread("y.tif"), 32)  # 0.125 of 255
    result = run("zero.tif", "y.tif", "--kernel", "learned/kernel.npy", "--overwrite", *tile)
    assert "; without the learned bias, which is in learned/kernel.csv" in result.stdout
    np.testing.assert_array_equal(tifffile.imread("y.tif"), 0)


def test_a_csv_with_a_byte_order_mark(folder):
    (folder / "k.csv").write_bytes(b"\xef\xbb\xbf0,0,0\r\n0,1,0\r\n0,0,0\r\n")
    assert run("x.tif", "y.tif", "--kernel", "k.csv").exit_code == 0
    np.testing.assert_array_equal(tifffile.imread("y.tif"), tifffile.imread("x.tif"))


@pytest.mark.parametrize("mode", ["symmetric", "reflect", "replicate", "circular", "zeros"])
@pytest.mark.parametrize("axes", ["YX", "ZYX"])
def test_nan_goes_to_the_same_values_whole_and_in_tiles(folder, mode, axes):
    """In corners, at the seams of tiles, under zeros of the kernel, in no data and beyond edges."""
    x = values("float32", 7, 33, 34)[(slice(None) if axes == "ZYX" else 0)]
    for place in ((0, 0), (15, 16), (32, 20), (8, 33)):
        x[(..., *place)] = np.nan
    x[..., 20, 5], x[..., 21, 9] = np.inf, -np.inf
    tifffile.imwrite("nan.tif", x, photometric="minisblack", metadata={"axes": axes})
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, 1]], np.float32)[(None,) * (len(axes) - 2)]
    np.save("k.npy", kernel)
    for out, tile in (("whole.tif", ()), ("tiles.tif", ("--tile", 16))):
        given = ("--kernel", "k.npy", "--padding-mode", mode, "--kernel-axes", axes)
        result = run("nan.tif", out, *given, *tile)
        assert result.exit_code == 0, result.stderr
    whole, tiles = (tifffile.imread(name) for name in ("whole.tif", "tiles.tif"))
    np.testing.assert_array_equal(tiles, whole)
    names = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}
    sides = [(0, 0)] * (x.ndim - 2) + [(1, 1)] * 2
    padded = np.pad(x, sides, mode=names.get(mode, mode))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(-2, -1))
    with np.errstate(invalid="ignore"):  # 0 times infinity, which SciPy leaves out
        expected = (windows * kernel.reshape(3, 3)).sum((-2, -1))
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(expected))


def test_files_beyond_what_pillow_decodes(folder, monkeypatch):
    Image.fromarray(values("uint8", 40, 50)).save("large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 999)
    assert run("large.png", "y.png", "--kernel", "box").stderr == (
        "jaxconv apply: large.png: has more than 1998 pixels, the most that Pillow decodes; save "
        "it as tiff, which is also filtered in tiles\n"
    )
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1100)  # Pillow warns from here on
    assert run("large.png", "y.png", "--kernel", "box").exit_code == 0
    assert run("x.tif", "y.tif", "--kernel", "box").exit_code == 0  # which Pillow does not read
