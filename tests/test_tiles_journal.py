"""Runs that are interrupted, killed or refused: their journals, and the results of resuming."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from jaxconv._files import tiff_target as tiff
from jaxconv.cli.app import app
from jaxconv.tiles import apply_tiled

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (40, 50), np.uint8)
K = np.full((3, 3), 1 / 9, np.float32)


@pytest.fixture
def source(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", X)
    return tmp_path / "x.tif"


def cut_off(source, target, monkeypatch, after):
    """A run whose disk is full after `after` tiles."""
    write, left = tiff.TiffTarget.write, [after]

    def fails(self, box, values):
        if not left[0]:
            values = values.copy()
            values[: len(values) // 2] = 77  # half written, with wrong values
            write(self, box, values)
            raise OSError(28, "No space left on device")
        left[0] -= 1
        write(self, box, values)

    with monkeypatch.context() as patch:
        patch.setattr(tiff.TiffTarget, "write", fails)
        with pytest.raises(OSError, match="No space left"):
            apply_tiled(source, K, target, tile=16, ahead=1)


def test_a_run_that_was_cut_off_goes_on(source, tmp_path, monkeypatch):
    whole, target = tmp_path / "whole.tif", tmp_path / "y.tif"
    first = apply_tiled(source, K, whole, tile=16, ahead=1)
    cut_off(source, target, monkeypatch, after=5)
    journal = tmp_path / "y.tif.unfinished"
    header, *lines = map(json.loads, journal.read_text().splitlines())
    assert header["format"] == "jaxconv tiles 4"
    assert header["tile"] == [16, 16]
    assert [number for number, _ in lines] == [
        0,
        1,
        2,
        3,
        4,
    ]  # the half-written one is not among them
    with journal.open("a") as file:
        file.write("[5, 0")  # a line that was being written
    done = apply_tiled(source, K, target, tile=16, ahead=2, resume=True)  # ahead may differ
    assert done == first._replace(resumed=5)
    np.testing.assert_array_equal(tifffile.imread(target), tifffile.imread(whole))
    assert not journal.exists()
    finished = (tmp_path / "y.tif.finished").read_bytes()
    before = target.stat().st_mtime_ns
    assert apply_tiled(source, K, target, tile=16, resume=True).resumed == done.tiles == 12
    assert target.stat().st_mtime_ns == before
    assert (tmp_path / "y.tif.finished").read_bytes() == finished


def test_killed_before_the_first_line_it_begins_again(source, tmp_path):
    journal = tmp_path / "y.tif.unfinished"
    journal.write_text('{"format": "jaxconv ti')
    assert apply_tiled(source, K, tmp_path / "y.tif", tile=16, resume=True).resumed == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"padding_mode": "circular"}, "padding_mode='zeros' (now 'circular')"),
        ({"tile": (16, 8)}, "tile=[16, 16] (now [16, 8])"),
        ({"offset": 0.5}, "offset=0.0 (now 0.5), shifted=False (now True)"),
        ({"method": "lax"}, "method='taps' (now 'lax')"),
        ({"bias": 1}, "bias=[0.0] (now [1.0])"),
    ],
    ids=str,
)
def test_other_settings_are_refused_by_name(source, tmp_path, monkeypatch, change, told):
    target = tmp_path / "y.tif"
    cut_off(source, target, monkeypatch, after=1)
    before = target.read_bytes(), (tmp_path / "y.tif.unfinished").read_bytes()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is below
        apply_tiled(source, K, target, **{"tile": 16, "resume": True} | change)
    assert str(caught.value) == (
        f"apply_tiled: {target} was begun with {told}; use the same again, or name another target"
    )
    assert (target.read_bytes(), (tmp_path / "y.tif.unfinished").read_bytes()) == before


def test_another_image_or_kernel_is_refused(source, tmp_path, monkeypatch):
    target = tmp_path / "y.tif"
    cut_off(source, target, monkeypatch, after=1)
    with pytest.raises(ValueError, match=r"begun with kernel='\(3, 3, 1, 1\) \w+' \(now"):
        apply_tiled(source, 2 * K, target, tile=16, resume=True)
    tifffile.imwrite(source, X[:, ::-1])
    with pytest.raises(ValueError, match=r"begun with source_stamp='\w+' \(now"):
        apply_tiled(source, K, target, tile=16, resume=True)


def test_a_target_that_is_there_is_left_alone(source, tmp_path, monkeypatch):
    target = tmp_path / "y.tif"

    def says(message, **options):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is below
            apply_tiled(source, K, target, tile=16, **options)
        assert str(caught.value) == f"apply_tiled: {message}"

    target.write_text("mine")
    says(f"{target} exists; overwrite=True replaces it, resume=True continues an interrupted run")
    says(
        f"{target} exists without its journal y.tif.unfinished, which lists the complete tiles; "
        "overwrite=True replaces it",
        resume=True,
    )
    assert target.read_text() == "mine"
    target.unlink()
    cut_off(source, target, monkeypatch, after=1)
    target.unlink()
    says(
        f"{target} is missing, but its journal y.tif.unfinished exists; remove the journal to "
        "begin again",
        resume=True,
    )
    (tmp_path / "y.tif.unfinished").write_text("shopping\n")
    says(f"{tmp_path / 'y.tif.unfinished'} is not a journal of tiles; remove it", resume=True)


def test_the_command_resumes(source, tmp_path, monkeypatch):
    target = tmp_path / "y.tif"
    arguments = ["apply", source, target, "--kernel", "box", "--tile", 16]
    run = lambda *more: CliRunner().invoke(app, [*map(str, arguments), *more])
    write, left = tiff.TiffTarget.write, [3]

    def interrupted(self, box, values):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write(self, box, values)

    with monkeypatch.context() as patch:
        patch.setattr(tiff.TiffTarget, "write", interrupted)
        result = run()
    assert (result.exit_code, result.stderr) == (2, "jaxconv apply: No space left on device\n")
    assert run().exit_code == 2
    result = run("--resume")
    assert result.exit_code == 0, result.stderr
    assert "; 12 tiles, 3 of them before\n" in result.stdout


def test_killed_at_any_moment_it_ends_as_if_left_alone():
    """SIGKILL a few times, to zarr and to TIFF; after each, every recorded tile is complete."""
    script = Path(__file__).with_name("killing_tiles.py")
    done = subprocess.run(
        [sys.executable, str(script), "0", "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("zarr: 3 kills")
