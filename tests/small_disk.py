"""A long run on a disk that is full, then read-only: `unshare -rm python small_disk.py FOLDER`.

In a mount namespace of its own, so that nobody else sees the disk. Run by test_cli_long.py.
"""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxconv import cli
from jaxconv._files import images
from jaxconv.learn._checkpoints import kept_steps


def told(*arguments: object) -> tuple[int, str]:
    """The command's exit code and what it says on standard error."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        code = cli.main([*map(str, arguments)])
    return code, errors.getvalue()


def refused(reason: str, what: str, *arguments: object) -> None:
    code, errors = told(*arguments)
    right = code == 2 and errors.count("\n") == 1 and what in errors and reason in errors
    if not right:
        sys.exit(f"{arguments}: code {code}, told {errors!r}")


def main(root: Path) -> None:
    jax.config.update("jax_disable_most_optimizations", True)
    Figure.savefig = lambda _, path: path.write_bytes(bytes(1000))
    x = np.random.default_rng(0).uniform(size=(12, 13))
    images.write(root / "x.png", x)
    images.write(root / "y.png", (x[:-1] + x[1:]) / 2)
    disk = root / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    learn = ("learn", root / "x.png", root / "y.png")
    long = (*learn, "--checkpoint", disk / "kept", "--checkpoint-every", 2, "--resume")
    found = told(*long, "--steps", 4, "--out", root / "out")
    assert found == (0, ""), found
    assert kept_steps(disk / "kept" / "grey") == [2, 4]
    full = "No space left on device"
    with contextlib.suppress(OSError), (disk / "filling").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    step = "cannot write the checkpoint of step 6 to "
    refused(full, step, *long, "--steps", 8, "--out", root / "out")
    refused("those up to step 4 are kept", step, *long, "--steps", 8, "--out", root / "out")
    refused(full, "cannot write results to ", *learn, "--out", disk / "out")
    refused(full, "cannot write results to ", "apply", learn[1], disk / "z.png", "--kernel", "box")
    assert sorted(path.name for path in disk.iterdir()) == ["filling", "kept"]
    assert kept_steps(disk / "kept" / "grey") == [2, 4]
    (disk / "filling").unlink()
    fixed = "Read-only file system"
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    kept = "cannot write checkpoints to "
    refused(fixed, kept, *long, "--steps", 8, "--out", root / "out")
    refused(fixed, "cannot write results to ", *learn, "--out", disk / "out")
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert told(*long, "--steps", 8, "--out", root / "out") == (0, "")
    assert told(*learn, "--steps", 8, "--out", root / "alone") == (0, "")
    alone, resumed = (np.load(root / name / "kernel.npy") for name in ("alone", "out"))
    np.testing.assert_array_equal(resumed, alone)
    print("all told, nothing lost")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
