"""Long runs on the command line: resumed, measured step by step, watched, refused."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from jaxconv import filters
from jaxconv._files import images
from jaxconv.cli import progress
from jaxconv.cli.app import app


def _learn(*arguments):
    return CliRunner().invoke(app, ["learn", *map(str, arguments)])


@pytest.fixture
def pair(tmp_path, monkeypatch, undrawn):
    """Two small colour images whose names no ordinary font can draw."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).uniform(size=(14, 15, 3))
    images.write("日本 $x$.png", x)
    images.write("after.png", (x[:-1] + x[1:]) / 2)
    return "日本 $x$.png", "after.png"


def test_a_resumed_run_ends_as_one_left_alone(pair, tmp_path):
    assert _learn(*pair, "--steps", 6, "--metrics", "whole.csv", "--out", "whole").exit_code == 0
    long = (*pair, "--checkpoint", "kept", "--checkpoint-every", 2, "--out", "out", "--resume")
    assert _learn(*long, "--steps", 3, "--metrics", "m.csv").exit_code == 0
    with open("m.csv", "a") as file:
        file.write("red,4,0.1\nred,")  # what a killed run may leave beyond its checkpoint
    result = _learn(*long, "--steps", 6, "--metrics", "m.csv", "--json")
    assert result.exit_code == 0, result.stderr
    for name in ("kernel.npy", "kernel.csv", "losses.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (tmp_path / "m.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert lines[0] == "plane,step,loss"
    steps = [f"{plane},{step}" for plane in ("red", "green", "blue") for step in range(1, 7)]
    assert [line.rpartition(",")[0] for line in lines[1:]] == steps
    # and others are refused, by the option's name, with the metrics left as they were
    for options, message in (
        (["--learning-rate", "0.5"], "holds a run with --learning-rate 0.25, this one has 0.5: "),
        (["--no-bias"], "holds a run with --bias True, this one has False: repeat that one's "),
        (["--one-kernel"], "kept holds a run on the planes blue, green, red, this one is on all "),
        (["--seed", "1"], "holds a run with --seed none, this one has 1: repeat that one's "),
    ):
        result = _learn(*long, "--steps", 6, "--metrics", "m.csv", *options)
        assert result.exit_code == 2
        assert message in result.stderr
        assert (tmp_path / "m.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    images.write("after.png", np.full((13, 15, 3), 0.5) + np.eye(13, 15)[..., None] / 4)
    result = _learn(*long, "--steps", 6)
    assert "kept/red holds a run with AFTER float32 (13, 15, 3) " in result.stderr
    result = _learn(*long[:-1], "--steps", 6)
    assert result.stderr == (
        "jaxconv learn: kept holds checkpoints up to step 6: add --resume to go on from there, or "
        "name another folder\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--resume", "--resume needs --checkpoint FOLDER"),
        ("--checkpoint-every 3", "--checkpoint-every needs --checkpoint FOLDER"),
        ("--checkpoint a --checkpoint-every 0", "--checkpoint-every must be 1 or more, got 0"),
        ("--checkpoint /proc/a", "cannot write checkpoints to /proc/a/red: No such file or "),
        ("--metrics a.txt", "--metrics must end in .csv or .jsonl, got 'a.txt'"),
        ("--metrics no/a.csv", "cannot write metrics to no/a.csv: No such file or directory"),
        ("--metrics /dev/full.csv", "cannot write metrics to /dev/full.csv: "),
    ],
)
def test_refusals_are_one_line(pair, tmp_path, options, message):
    if "/dev/" in options:
        options = "--metrics full.csv"
        (tmp_path / "full.csv").symlink_to("/dev/full")
        message = "cannot write metrics to full.csv: No space left on device"
    there = sorted(tmp_path.iterdir())
    result = _learn(*pair, "--steps", 2, *options.split())
    assert result.exit_code == 2
    assert result.stderr.startswith(f"jaxconv learn: {message}")
    assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == there


def test_a_full_and_a_read_only_disk_cost_no_checkpoint(tmp_path):
    """A real disk of a megabyte, where the system lets us mount one."""
    alone = ("unshare", "--map-root-user", "--mount")
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("no mount namespaces here")
    here = Path(__file__).parent
    done = subprocess.run(
        [*alone, sys.executable, here / "small_disk.py", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(here.parent)},
    )
    assert (done.returncode, done.stdout) == (0, "all told, nothing lost\n"), done.stderr


def test_json_lines_and_events_hold_every_step_once(pair, tmp_path):
    options = ["--metrics", "m.jsonl", "--steps", 4, "--one-kernel", "--json"]
    result = _learn(*pair, *options)
    rows = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [(row["plane"], row["step"]) for row in rows] == [
        ("all colours", step) for step in (1, 2, 3, 4)
    ]
    assert rows[0]["loss"] == json.loads(result.stdout)["learned"][0]["first_loss"]
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard reads the events here",
    )
    for _ in range(2):
        assert _learn(*pair, *options, "--tensorboard", "events").exit_code == 0
    events = reading.EventAccumulator("events")
    events.Reload()
    assert [event.step for event in events.Scalars("loss/all_colours")] == [1, 2, 3, 4]
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))  # no file longer than 10 bytes
    try:
        result = _learn(*pair, "--steps", 4, "--tensorboard", "events")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    message = "jaxconv learn: cannot write TensorBoard's events to events: File too large\n"
    assert (result.exit_code, result.stderr) == (2, message)


def test_progress_is_told_in_lines_where_there_is_no_terminal(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress.reporting(1000) as reporter:
        reporter.add(500, 1.0, restored=True)  # which took no time, and says nothing of the rate
        for _ in range(4):
            now[0] += 20
            reporter.add(10, 0.1234567)
    assert capsys.readouterr().err.splitlines() == [
        "jaxconv learn: step 520 of 1000, loss 0.123, 0.5 steps/s, 16 min 0 s left",
        "jaxconv learn: step 540 of 1000, loss 0.123, 0.5 steps/s, 15 min 20 s left",
    ]


def test_times_are_told_in_two_units():
    told = [progress.duration(seconds) for seconds in (0.4, 59, 61, 3600, 90000, 200000)]
    assert told == ["0 s", "59 s", "1 min 1 s", "1 h 0 min", "1 d 1 h", "2 d 7 h"]


def test_titles_escape_what_the_font_lacks():
    from jaxconv import plots

    plane, kernel = np.eye(3), filters.by_name("box")
    figure = plots.learning(
        plane, plane, plane, kernels=[kernel], losses=[np.ones(2)], labels=["grey"], title="日 $é\n"
    )
    assert figure.get_suptitle() == "\\u65e5 $é\\n"
    figure.draw_without_rendering()  # warns of a missing glyph, and warnings are errors here
