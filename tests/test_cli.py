"""The learn command: what it prints and writes, and how it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from typer.testing import CliRunner

from jaxconv import cli, filters
from jaxconv._files import images
from jaxconv.cli.app import app
from jaxconv.cli.results import write_results

FILES = ["kernel.csv", "kernel.npy", "learning.png", "losses.csv"]


def _learn(*arguments):
    return CliRunner().invoke(app, ["learn", *map(str, arguments)])


def _written(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    images.write(path, images.sample("page")[:48, :64])
    return path


@pytest.fixture
def colour_pair(tmp_path):
    """A colour image and its blur by a different kernel a plane, padded to the same size."""
    before, after = tmp_path / "before.tiff", tmp_path / "after.tiff"
    x = images.sample("coffee")[100:160, 200:270]
    kernels = [filters.by_name("box"), filters.gaussian(0.6, size=3), np.eye(3) / 3]
    planes = [ndimage.correlate(x[..., i], kernels[i], mode="nearest") for i in range(3)]
    images.write(before, x, bits=16)
    images.write(after, np.stack(planes, axis=-1), bits=16)
    return before, after, np.stack(kernels)


def test_camera_by_default(tmp_path):
    result = _learn("--out", tmp_path / "out", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert (found["image"], found["target"], found["size"]) == ("camera", "sobel_x", [512, 512])
    (learned,) = found["learned"]
    kernel = np.load(tmp_path / "out" / "kernel.npy")
    error = np.abs(kernel - [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).max()
    assert error < 1e-2
    np.testing.assert_allclose(learned["largest_error"], error, rtol=1e-6)
    np.testing.assert_allclose(learned["kernel"], kernel)
    # what is left is the rounding to 8 bits
    np.testing.assert_allclose(learned["final_loss"], found["rounding_loss"], rtol=0.1)
    assert found["scale"] == pytest.approx(0.0263, abs=1e-4)
    printed = [f"{loss:.3f}" for loss in found["edge"]["losses"][1::2]]
    assert printed == ["11.983", "2.914", "0.859", "0.296", "0.112"]


def test_tables_for_people(photo, tmp_path):
    result = _learn("--photo", photo, "--target", "prewitt_y", "--out", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    for row in (["2", "11.983"], ["10", "0.112"]):
        assert row in rows
    assert "learned (1.0186, -0.9516), true (1, -1)" in result.stdout
    # a row of the learned kernel, then that of the true one
    row = next(row for row in rows if row[-3:] == ["-1.0000"] * 3)
    np.testing.assert_allclose([float(n) for n in row[:3]], -1, atol=0.02)
    assert "largest error of an entry: 0.00" in result.stdout
    assert "\x1b" not in result.stdout  # no terminal, no colours, no bar


def test_files_written(photo, tmp_path):
    out = tmp_path / "deep" / "out"
    assert _learn("--photo", photo, "--steps", 5, "--out", out).exit_code == 0
    assert _written(out) == FILES
    kernel = np.load(out / "kernel.npy")
    assert kernel.shape == (3, 3)
    np.testing.assert_allclose(np.loadtxt(out / "kernel.csv", delimiter=","), kernel, rtol=1e-6)
    losses = np.loadtxt(out / "losses.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(losses[:, 0], [1, 2, 3, 4, 5])
    assert (np.diff(losses[:, 1]) < 0).all()
    assert (out / "learning.png").read_bytes()[:4] == b"\x89PNG"


def test_results_replace_older_ones_and_leave_other_files(photo, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "losses.csv").write_text("old")
    assert _learn("--photo", photo, "--steps", 2, "--out", out).exit_code == 0
    assert _written(out) == sorted([*FILES, "notes.txt"])
    assert (out / "losses.csv").read_text().startswith("step,grey\n1,")


def test_one_kernel_a_colour(colour_pair, tmp_path):
    before, after, truth = colour_pair
    result = _learn(before, after, "--kernel", "3x3", "--out", tmp_path / "out", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert [learned["plane"] for learned in found["learned"]] == ["red", "green", "blue"]
    assert found["true_kernel"] is found["edge"] is None
    np.testing.assert_allclose(np.load(tmp_path / "out" / "kernel.npy"), truth, atol=2e-3)
    table = np.loadtxt(tmp_path / "out" / "kernel.csv", delimiter=",")
    np.testing.assert_allclose(table.reshape(3, 3, 3), truth, atol=2e-3)


def test_one_kernel_for_all_colours(colour_pair, tmp_path):
    before, after, truth = colour_pair
    result = _learn(before, after, "--kernel", 3, "--one-kernel", "--out", tmp_path, "--json")
    (learned,) = json.loads(result.stdout)["learned"]
    assert learned["plane"] == "all colours"
    kernel = np.load(tmp_path / "kernel.npy")
    assert kernel.shape == (3, 3)
    # a compromise: between the three, nearer to none than they lie apart
    assert np.abs(kernel - truth.mean(axis=0)).max() < np.abs(truth - truth.mean(axis=0)).max()


def test_a_cut_image_tells_the_kernels_size(tmp_path):
    x = images.sample("page")[:40, :50]
    images.write(tmp_path / "x.png", x)
    images.write(tmp_path / "y.png", (x[:, 1:] + x[:, :-1]) / 2)
    result = _learn(tmp_path / "x.png", tmp_path / "y.png", "--out", tmp_path / "out", "--json")
    (learned,) = json.loads(result.stdout)["learned"]
    np.testing.assert_allclose(learned["kernel"], [[0.5, 0.5]], atol=5e-3)


def test_a_larger_window_finds_zeros_around_the_kernel(photo, tmp_path):
    result = _learn("--photo", photo, "--kernel", "5x3", "--out", tmp_path / "out", "--json")
    found = json.loads(result.stdout)
    np.testing.assert_array_equal(found["true_kernel"][0], [0, 0, 0])
    assert found["learned"][0]["largest_error"] < 0.05


def test_remarks_go_to_standard_error(tmp_path):
    stripes = np.tile(np.random.default_rng(0).uniform(size=(1, 40)), (30, 1))
    images.write(tmp_path / "stripes.png", stripes)
    result = _learn("--photo", tmp_path / "stripes.png", "--out", tmp_path / "out", "--json")
    assert result.stderr == (
        "jaxconv learn: stripes determines only 3 of 9 independent weights: other kernels fit as "
        "well as the learned one\n"
    )
    json.loads(result.stdout)


@pytest.mark.parametrize(("optimizer", "steps"), [("lbfgs", 60), ("adam", 2000)])
def test_other_optimisers_and_seeds(photo, tmp_path, optimizer, steps):
    arguments = (
        "--photo",
        photo,
        "--optimizer",
        optimizer,
        "--seed",
        3,
        "--json",
        "--steps",
        steps,
    )
    result = _learn(*arguments, "--out", tmp_path / "out")
    assert json.loads(result.stdout)["learned"][0]["largest_error"] < 0.05


def _grey(path):
    images.write(path / "grey.png", np.random.default_rng(0).uniform(size=(12, 14)))
    images.write(path / "cut.png", np.zeros((10, 11)))
    images.write(path / "colour.png", np.zeros((12, 14, 3)))
    images.write(path / "red.png", np.random.default_rng(0).uniform(size=(12, 14, 1)) * [1, 0, 0])
    images.write(path / "large.png", np.zeros((13, 15)))
    (path / "broken.png").write_bytes(b"no image")
    tifffile.imwrite(path / "nan.tif", np.full((12, 14), np.nan, np.float32))
    tifffile.imwrite(path / "flat.tif", np.full((12, 14), 0.3, np.float32))
    (path / "file").write_text("")


REFUSALS = {
    "missing.png grey.png": "missing.png: no such file",
    "grey.png broken.png": "broken.png: cannot be read as an image",
    "grey.png": "give two images, BEFORE and AFTER, or none for the demonstration",
    "grey.png grey.png": "both images are 12x14, which does not determine the kernel's size; "
    "give it, as in --kernel 3x3",
    "grey.png cut.png --kernel 3": "the sizes do not fit: with a 3x3 kernel a 12x14 image becomes "
    "10x12, or 12x14 if it was padded; got 10x11",
    "grey.png large.png": "large.png is 13x15, larger than",
    "grey.png grey.png --kernel 2x3": "a 2x3 kernel has no centre, so the position of two images "
    "of one size is ambiguous: use odd sizes, or cut the second to 11x12",
    "grey.png grey.png --kernel 13": "a 13x13 kernel is larger than the 12x14 image",
    "grey.png colour.png --kernel 3": "save both in one mode",
    "nan.tif grey.png --kernel 3": "nan.tif: all values are NaN or infinite",
    "grey.png grey.png --kernel 3 --mask cut.png": "--mask cut.png is 10x11, but grey.png is "
    "12x14; give one of its size",
    "grey.png grey.png --kernel 3 --mask-before cut.png": "--mask-before cut.png is 10x11, but "
    "grey.png is 12x14; give one of its size",
    "grey.png grey.png --kernel 3 --mask colour.png": "no output is left to learn from: every "
    "value of grey.png is missing, masked or beyond a limit, or needs one of grey.png that is",
    "grey.png grey.png --kernel 3 --mask grey.png --mask grey.png": "--mask is given 2 times for 1 "
    "pairs; give it once for each",
    "grey.png grey.png --kernel 3 --saturated white": "--saturated must be a level, LOW:HIGH or "
    "none, such as 255 or 0:4095; got 'white'",
    "grey.png grey.png --kernel 3 --saturated 9:3": "--saturated LOW:HIGH must have LOW below "
    "HIGH; got '9:3'",
    "grey.png grey.png --kernel 3 --pair colour.png:colour.png": "colour.png and grey.png are grey "
    "and colour; give pairs of one kind",
    "--mask grey.png": "--mask is for images; give them too: BEFORE AFTER",
    "--pair grey.png:grey.png": "--pair is for images; give them too: BEFORE AFTER",
    "--saturated 255": "--saturated is for images; give them too: BEFORE AFTER",
    "flat.tif grey.png --kernel 3": "flat.tif has one value everywhere, which determines no kernel",
    "red.png red.png --kernel 3": "the green plane of red.png has one value everywhere, which "
    "determines no kernel",
    "grey.png grey.png --kernel 0x3": "--kernel must be HxW or one number, 1 or more, such as 5x5; "
    "got '0x3'",
    "grey.png grey.png --kernel threebythree": "--kernel must be HxW or one number, 1 or more, "
    "such as 5x5; got 'threebythree'",
    "grey.png grey.png --kernel 3 --target box": "--target is for the demonstration; leave it "
    "out with two images",
    "--photo grey.png --kernel 4": "--kernel 4x4 cannot hold sobel_x (3x3) at its centre; try 3x3 "
    "or 5x5",
    "--photo grey.png --kernel 13": "a 13x13 kernel is larger than the 12x14 image",
    "--photo nobody": "no photograph is called 'nobody'; known: astronaut, brick, camera, ",
    "--target nothing": "no target is called 'nothing'; known: sobel_x, sobel_y, ",
    "--optimizer best": "no optimizer is called 'best'; known: sgd, lbfgs, adam",
    "--steps 0": "--steps must be 1 or more, got 0",
    "--seed -1": "--seed must be from 0 to 2**32 - 1, got -1",
    "--learning-rate 0": "--learning-rate must be above 0, got 0.0",
    "--learning-rate nan": "--learning-rate must be above 0, got nan",
    "--optimizer lbfgs --learning-rate 1": "lbfgs has no learning rate; --learning-rate "
    "needs --optimizer sgd or adam",
    "--photo grey.png --learning-rate 5": "learning diverged at step 2 of 40: try --learning-rate "
    "0.5, or leave it out",
    "--out file/out": "cannot write results to file/out: file is not a folder",
    "--out file": "cannot write results to file: file is not a folder",
    f"--out {'x' * 300}": f"cannot write results to {'x' * 300}: File name too long",
    "--out /proc/out": "cannot write results to /proc/out: No such file or directory",
}


@pytest.mark.parametrize(("arguments", "message"), REFUSALS.items())
def test_refusals_are_one_line_and_leave_nothing(monkeypatch, tmp_path, arguments, message):
    _grey(tmp_path)
    monkeypatch.chdir(tmp_path)
    there = _written(tmp_path)
    result = _learn(*arguments.split())
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)  # no traceback
    assert result.stderr.startswith("jaxconv learn: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert _written(tmp_path) == there


def test_a_folder_in_a_files_place_stops_all_files(photo, tmp_path):
    out = tmp_path / "out"
    (out / "learning.png").mkdir(parents=True)
    result = _learn("--photo", photo, "--steps", 2, "--out", out)
    assert result.exit_code == 2
    assert result.stderr == (
        f"jaxconv learn: cannot write results to {out}: its learning.png is a folder\n"
    )
    assert _written(out) == ["learning.png"]


def test_a_failing_writer_leaves_nothing(monkeypatch, photo, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    out = tmp_path / "deep" / "out"
    result = _learn("--photo", photo, "--steps", 2, "--out", out)
    assert (result.exit_code, result.stderr) == (
        2,
        f"jaxconv learn: cannot write results to {out}: No space left on device\n",
    )
    assert _written(tmp_path) == ["photo.png"]


@pytest.mark.parametrize("new", [True, False])
def test_results_are_whole_where_that_can_hold(monkeypatch, tmp_path, new):
    """Killed at any moment: a new folder has all files or is not there, an old one whole files."""
    out, seen = tmp_path / "out", []
    names = ("a", "b")

    def look(before):
        found = {name: (out / name).read_text() for name in names if (out / name).exists()}
        seen.append((before, out.exists(), found))

    if not new:
        out.mkdir(mode=0o750)
        for name in names:
            (out / name).write_text("old")
    for name in ("rename", "replace"):
        move = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, move=move, name=name: (look(name), move(*a)))
    write_results(
        out, {name: lambda path: (look("write"), path.write_text("new")) for name in names}
    )
    if new:
        assert seen == [(moment, False, {}) for moment in ("write", "write", "rename")]
        (tmp_path / "made").mkdir()
        assert out.stat().st_mode == (tmp_path / "made").stat().st_mode
    else:
        old = {"a": "old", "b": "old"}
        assert seen == [
            *[(moment, True, old) for moment in ("write", "write", "replace")],
            ("replace", True, {"a": "new", "b": "old"}),
        ]
        assert out.stat().st_mode & 0o777 == 0o750
    assert [(out / name).read_text() for name in names] == ["new", "new"]
    assert _written(out) == [*names]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["learn", "--steps", "many"], "jaxconv: Invalid value for '--steps': "),
        (["learn", "--bogus"], "jaxconv: No such option: --bogus"),
        (["unlearn"], "jaxconv: No such command 'unlearn'."),
    ],
)
def test_usage_mistakes_are_one_line_too(capsys, arguments, message):
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)
    assert captured.err.endswith("(see --help)\n")
    assert captured.err.count("\n") == 1


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "typer", None)
    assert cli.main(["learn"]) == 2
    assert capsys.readouterr().err == (
        "jaxconv: the command line needs rich, typer: pip install 'jaxconv[cli]'\n"
    )


def test_the_console_entry(photo, tmp_path):
    """What the installed script runs, in a process of its own."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from jaxconv.cli import main; sys.exit(main())",
            "learn",
            "--photo",
            str(photo),
            "--out",
            str(tmp_path / "out"),
            "--steps",
            "3",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["steps"] == 3
    assert _written(tmp_path / "out") == FILES
