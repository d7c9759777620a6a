"""Long runs: killed and resumed to the same bits, refused where they are another's, disks full."""

import functools
import itertools
import logging
import os
import random
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path

import chex
import jax
import numpy as np
import optax
import orbax.checkpoint as orbax_package
import pytest

from jaxconv.learn import Checkpoints, fit_conv, fit_kernel, recover_kernel
from jaxconv.learn import _checkpoints as checkpoints
from jaxconv.learn import _store as store
from jaxconv.learn._segments import run_segments

X = np.random.default_rng(0).normal(size=(9, 10)).astype(np.float32)
Y = X[:-1, :-1] - X[1:, 1:]
ADAM = optax.adam(0.1)


# of `jaxconv learn` on files, and of random crops
@pytest.mark.parametrize(
    "kills", [("0", "2"), pytest.param(("4", "16"), marks=pytest.mark.thorough)]
)
def test_killed_at_random_moments_a_run_ends_where_one_left_alone_does(kills):
    seed = random.randrange(2**32)
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / "killing.py"), str(seed), *kills],
        capture_output=True,
        text=True,
        check=False,
        # compiled as quickly as all tests are
        env={
            "PYTHONPATH": str(here.parent),
            "PATH": "",
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
    )
    assert done.returncode == 0, f"seed {seed}: {done.stdout} {done.stderr}"
    print(f"seed {seed}: {done.stdout}")
    kinds = re.findall(r"^(.*): (\d+) kills, steps \[(.*)\]$", done.stdout, re.MULTILINE)
    named = zip(("the command", "crops of two"), kills, strict=True)
    assert [(kind, count) for kind, count, _ in kinds] == [each for each in named if each[1] != "0"]
    for _, _, moments in kinds:
        assert set(moments.split(", ")) != {"0"}  # not all before the first checkpoint


def test_where_a_run_is_cut_changes_no_bit(tmp_path):
    """Extended thrice, with checkpoints at other steps each time, whitened and in other units."""
    seen = []
    whole = recover_kernel(X, 5 * Y, 2, steps=11, on_losses=lambda n, losses: None)
    for steps, every in ((3, 2), (4, 1), (11, 4)):
        kept = Checkpoints(directory=tmp_path, every=every, resume=True)
        fit = recover_kernel(
            X, 5 * Y, 2, steps=steps, checkpoints=kept, on_losses=lambda *part: seen.append(part)
        )
    chex.assert_trees_all_equal(fit, whole)
    assert checkpoints.kept_steps(tmp_path) == [4, 8, 11]  # the last three
    assert [before for before, _ in seen if before == 0] == [0, 0, 0]
    third = max(n for n, (before, _) in enumerate(seen) if before == 0)
    np.testing.assert_array_equal(np.concatenate([part for _, part in seen[third:]]), fit.losses)
    again = recover_kernel(
        X, 5 * Y, 2, steps=11, checkpoints=Checkpoints(directory=tmp_path, resume=True)
    )
    chex.assert_trees_all_equal(again, whole)  # of a run that is done, without a step


LAYER = {
    "x": [np.stack([X, 2 - X], -1), np.stack([X[1:], X[:-1]], -1)],
    "y": [np.stack([X, Y[:1, :1] + X], -1), np.stack([X[:-1], X[1:]], -1)],
    "kernel_size": (2, 3),
    "padding": "same",
    "optimizer": ADAM,
    "crop": (3, 4),
    "crops": 2,
}


def test_crops_of_several_images_go_on_where_they_were(tmp_path):
    seen = []
    whole = fit_conv(**LAYER, bias=True, steps=7, on_losses=lambda *part: seen.append(part))
    np.testing.assert_array_equal(np.concatenate([part for _, part in seen]), whole.losses)
    kept = Checkpoints(directory=tmp_path, every=3, resume=True)
    for steps in (4, 7):
        fit = fit_conv(**LAYER, bias=True, steps=steps, checkpoints=kept)
    chex.assert_trees_all_equal(fit, whole)
    # a scan of the same steps draws the same crops
    plain = fit_conv(**LAYER, bias=True, steps=7)
    for a, b in zip(jax.tree.leaves(fit), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert len(set(np.asarray(fit.losses).tolist())) == 7
    for change, message in (
        ({"padding": "same_lower"}, r"padding \(\(0, 1\), \(1, 1\)\), this one has \(\(1, 0\), "),
        ({"padding_mode": "reflect"}, "padding_mode zeros, this one has reflect: repeat "),
        ({"crop": (4, 3)}, r"crop \(3, 4\), this one has \(4, 3\): "),
        ({"crops": 1}, "crops 2, this one has 1: "),
        ({"crop": None}, r"crop \(3, 4\), this one has none: "),
        ({"key": jax.random.key(1)}, "key uint32 .*, this one has uint32 "),
        ({"bias": False}, "bias True, this one has False: "),
        ({"x": LAYER["y"]}, r"x 2 arrays [0-9a-f]{16}, this one has 2 arrays "),
        ({"init": np.zeros((2, 3, 2, 2))}, "start float32"),
        ({"optimizer": optax.adam(0.2)}, r"optimizer or loss \(as a program\) "),
    ):
        call = {**LAYER, "bias": True, **change}
        with pytest.raises(ValueError, match=f" holds a run with {message}"):
            fit_conv(**call, steps=9, checkpoints=kept)


def test_keys_and_narrow_numbers_come_back(tmp_path):
    def step(state, scale):
        key, sub = jax.random.split(state["key"])
        walk = state["walk"] + scale * jax.random.normal(sub, (3,), state["walk"].dtype)
        return {"key": key, "walk": walk, "none": None}, walk.sum()

    start = {"key": jax.random.key(7), "walk": jax.numpy.zeros(3, "bfloat16"), "none": None}
    scale = jax.numpy.ones((), "bfloat16")
    whole = run_segments(step, start, scale, steps=6)
    for steps in (4, 6):
        kept = Checkpoints(directory=tmp_path, resume=True)
        state, losses = run_segments(step, start, scale, steps=steps, checkpoints=kept)
    np.testing.assert_array_equal(state["walk"], whole[0]["walk"])
    np.testing.assert_array_equal(losses, whole[1])
    assert (jax.random.key_data(state["key"]) == jax.random.key_data(whole[0]["key"])).all()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    checkpoints = Checkpoints(directory=folder, settings={"--rate": 0.1})
    fit_kernel(X, Y, 2, optimizer=ADAM, steps=2, checkpoints=checkpoints)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": (1, 2), "y": X[:, 1:]}, r"holds a run with kernel_size \(2, 2\), this"),
        ({"x": X + 1}, r"holds a run with x float32 \(9, 10\) [0-9a-f]{16}, this one has float32 "),
        ({"y": Y + 1}, r"holds a run with y float32 \(8, 9\) [0-9a-f]{16}, this one has float32 "),
        ({"init": np.ones((2, 2))}, "holds a run with start float32"),
        ({"optimizer": optax.adam(0.2)}, r"holds a run with optimizer or loss \(as a program\) "),
        ({"settings": {"--rate": 0.2}}, "holds a run with --rate 0.1, this one has 0.2: repeat "),
        ({"steps": 1}, "holds checkpoints up to step 2, beyond the 1 steps asked for$"),
        ({"resume": False}, "holds checkpoints up to step 2: resume from there, or name another "),
        ({"every": 0}, "^Checkpoints: every must be 1 or more, got 0$"),
        ({"keep": 0}, "^Checkpoints: keep must be 1 or more, got 0$"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_run_is_refused_by_name(kept, change, message):
    ours = {"every", "keep", "resume", "settings"} & set(change)
    where = {"directory": kept, "resume": True, "settings": {"--rate": 0.1}}
    call = {"x": X, "y": Y, "kernel_size": 2, "optimizer": ADAM, "steps": 4} | change
    where |= {name: call.pop(name) for name in ours}
    with pytest.raises(ValueError, match=message):
        fit_kernel(**call, checkpoints=Checkpoints(**where))
    assert checkpoints.kept_steps(kept) == [1, 2]


def test_a_broken_checkpoint_is_named(tmp_path):
    kept = Checkpoints(directory=tmp_path, resume=True)
    fit_kernel(X, Y, 2, optimizer=ADAM, steps=2, checkpoints=kept)
    for path in (tmp_path / "2").rglob("*"):
        if path.is_file() and path.name != "_CHECKPOINT_METADATA":
            path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"/2 cannot be read as a checkpoint \(.*\); delete it"):
        fit_kernel(X, Y, 2, optimizer=ADAM, steps=4, checkpoints=kept)


def test_a_full_disk_is_told_and_costs_no_earlier_checkpoint(tmp_path, caplog):
    kept = Checkpoints(directory=tmp_path, every=2, resume=True)
    call = {"optimizer": ADAM, "steps": 4}
    fit_kernel(X, Y, 2, **call | {"steps": 2}, checkpoints=kept)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, old[1]))  # no file longer than 100 bytes
    try:
        with pytest.raises(OSError, match=r"^cannot write the checkpoint of step 4 to ") as error:
            fit_kernel(X, Y, 2, **call, checkpoints=kept)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert str(error.value).endswith(": File too large; those up to step 2 are kept")
    assert caplog.text == ""
    assert [path.name for path in tmp_path.iterdir()] == ["2"]
    chex.assert_trees_all_equal(
        fit_kernel(X, Y, 2, **call, checkpoints=kept),
        fit_kernel(X, Y, 2, **call, on_losses=lambda n, losses: None),
    )


def test_a_folder_that_cannot_be_written_is_told_before_any_step():
    with pytest.raises(OSError, match=r"^cannot write checkpoints to /proc/kept: No such file"):
        fit_kernel(X, Y, 2, checkpoints=Checkpoints(directory="/proc/kept"))


LISTENERS = ("on_progress", "on_losses", "checkpoints")
PLANES = {"x": X, "y": Y, "kernel_size": 2, "optimizer": ADAM}


@pytest.mark.cover
@pytest.mark.parametrize("call", [{**PLANES}, LAYER], ids=["fit_kernel", "fit_conv"])
@pytest.mark.parametrize(
    "given",
    [given for n in range(4) for given in itertools.combinations(LISTENERS, n)],
    ids="+".join,
)
def test_reports_and_checkpoints_combine_freely(tmp_path, call, given):
    """Each does the same as by itself, in a run in one piece and in one that is resumed."""
    fit = functools.partial(fit_conv if call is LAYER else fit_kernel, **call)
    plain = fit(steps=45)
    for session, steps in enumerate((45,) if "checkpoints" not in given else (31, 45)):
        progress, losses = [], []
        options = {
            "on_progress": lambda *report, seen=progress: seen.append(report),
            "on_losses": lambda before, part, seen=losses: seen.append((before, part)),
            "checkpoints": Checkpoints(directory=tmp_path, every=7, keep=9, resume=True),
        }
        found = fit(steps=steps, **{name: options[name] for name in given})
        np.testing.assert_allclose(found.losses, plain.losses[:steps], rtol=1e-4, atol=1e-6)
        if "on_progress" in given:
            every = -(-steps // 20)
            assert [done for done, _ in progress] == [*range(every, steps, every), steps]
            assert [loss for _, loss in progress] == [found.losses[n - 1] for n, _ in progress]
        if "on_losses" in given:
            starts = np.cumsum([0, *(len(part) for _, part in losses)])
            assert [before for before, _ in losses] == starts[:-1].tolist()
            np.testing.assert_array_equal(np.concatenate([p for _, p in losses]), found.losses)
            assert len(losses[0][1]) == (31 if session else 1)
        if "checkpoints" in given:
            kept = [7, 14, 21, 28, 31, *([35, 42, 45] if session else [])]
            assert checkpoints.kept_steps(tmp_path) == kept
    if given:  # the bits of a loop do not depend on who looks
        chex.assert_trees_all_equal(found, fit(steps=45, on_losses=lambda *_: None))


def test_two_runs_in_threads_leave_the_log_as_it_was(caplog):
    """Their times overlap; in the end and in between every other record of absl's logger passes."""
    logger = logging.getLogger("absl")
    before = logger.level, list(logger.filters)
    orbax = str(Path(orbax_package.__file__).parent / "manager.py")
    steps = threading.Barrier(2, timeout=60)

    def record(path):
        logger.handle(logger.makeRecord("absl", logging.ERROR, path, 1, path, (), None))

    def first():
        with store.orbax_silenced():
            steps.wait()  # both are in
            record(orbax)
            record("other.py")
            steps.wait()
        steps.wait()  # one is out
        steps.wait()

    def second():
        with store.orbax_silenced():
            steps.wait()
            steps.wait()
            steps.wait()
            record(orbax)
        steps.wait()

    threads = [threading.Thread(target=run) for run in (first, second)]
    for thread in threads:
        thread.start()
    steps_done = [thread.join(60) for thread in threads]
    assert steps_done == [None, None]
    assert [record.getMessage() for record in caplog.records] == ["other.py"]
    assert (logger.level, logger.filters) == before
    record(orbax)
    assert [record.getMessage() for record in caplog.records] == ["other.py", orbax]
