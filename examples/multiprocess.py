"""Train over several processes, as over several machines, and recover when one is killed.

    python examples/multiprocess.py                  # 2 and 4 processes beside one
    python examples/multiprocess.py --kill           # kill one of them, then resume the run

Every process has its share of four CPU devices, and only its own part of the image. The processes
connect over loopback (`jax.distributed`) and learn a kernel from a sharded image, then LeNet, whose
widest layer is sharded over all of them. The results are compared with those of one process.

With `--kill` process 1 is killed while a checkpoint is being written. The others end when JAX's
coordination service misses its heartbeats, or when a collective fails, whichever is first. Started
again, the run resumes from its last complete checkpoint, to the same bits as an undisturbed run.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _digits import digits

DEVICES = 4  # in all processes together, so that all runs compute the same sums
HEARTBEAT = 10  # seconds without a heartbeat after which a process counts as dead
STEPS = 24  # training steps of LeNet
EVERY = 8  # steps between checkpoints of LeNet
GONE = "another process is gone"


def work(folder: Path, rank: int, processes: int, address: str) -> None:
    """Run one process; the first one writes the results."""
    import jax

    jax.config.update("jax_num_cpu_devices", DEVICES // processes)
    if processes > 1:
        jax.distributed.initialize(
            address,
            processes,
            rank,
            initialization_timeout=60,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=60,
        )
    try:
        found = learned(folder)
    except (OSError, jax.errors.JaxRuntimeError) as error:
        reason = str(error).splitlines()[0]
        print(f"process {rank} of {processes} ends, {GONE}: {reason}", file=sys.stderr, flush=True)
        os._exit(3)  # at a normal exit JAX would wait for the others
    if rank == 0:
        np.savez(folder / "result.npz", **found)


def learned(folder: Path) -> dict[str, np.ndarray]:
    """Learn the kernel, then LeNet; the same code for any number of processes."""
    import _lenet
    import jax
    import optax
    from jax.experimental import multihost_utils
    from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

    from jaxconv import learn
    from jaxconv.learn import run_segments

    devices = np.array(jax.devices()).reshape(2, 2)
    mesh = Mesh(devices, ("data", "rows"), axis_types=(AxisType.Auto, AxisType.Auto))
    x = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    y = x[:-1, :-1] - 2 * x[1:, 1:]
    sharding = NamedSharding(mesh, PartitionSpec("rows", "data"))
    # from a file each process would read only its own parts
    parts = jax.make_array_from_callback(x.shape, sharding, lambda part: x[part])
    fit = learn.fit_kernel(parts, y, 2, optimizer=optax.adam(0.1), steps=80)

    with np.load(folder.parent / "digits.npz") as images:
        run = _lenet.training(mesh, images["x"], images["y"], epochs=1)
    step, state, data = run.pop("step"), run.pop("state"), run.pop("data")
    kept = learn.Checkpoints(directory=folder / "kept", every=EVERY, resume=True)
    state, losses = run_segments(step, state, *data, steps=STEPS, checkpoints=kept, **run)
    whole = multihost_utils.process_allgather(state["params"], tiled=True)
    weights = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(whole)])
    return {"kernel": np.asarray(fit.kernel), "losses": np.asarray(losses), "weights": weights}


def start(folder: Path, processes: int) -> list[subprocess.Popen]:
    """Start the processes of a run, each with its own log file."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    running = []
    for rank in range(processes):
        command = [sys.executable, __file__, "--work", str(folder), str(rank), str(processes)]
        with (folder / f"{rank}.log").open("w") as log:
            running.append(subprocess.Popen([*command, address], stdout=log, stderr=log))
    return running


def finish(folder: Path, running: list[subprocess.Popen]) -> dict[str, np.ndarray]:
    """Wait for all processes and read the result."""
    for rank, process in enumerate(running):
        if process.wait(timeout=300):
            sys.exit(f"process {rank} failed: {(folder / f'{rank}.log').read_text()}")
    with np.load(folder / "result.npz") as found:
        return dict(found)


def whole_steps(folder: Path) -> list[int]:
    """Return the steps of the complete checkpoints."""
    kept = folder / "kept"
    names = [path.name for path in kept.iterdir()] if kept.exists() else []
    return sorted(int(name) for name in names if name.isdecimal())


def kill_one(folder: Path, running: list[subprocess.Popen]) -> dict[str, Any]:
    """Kill process 1 while it writes a checkpoint, and collect how the others end."""
    kept, victim = folder / "kept", running[1]
    while not (kept.exists() and any(int(n) > STEPS // 3 for n in being_written(kept))):
        if victim.poll() is not None:
            sys.exit(f"process 1 ended before it was killed: {(folder / '1.log').read_text()}")
        time.sleep(0.001)
    victim.kill()
    began = time.monotonic()
    ends = [process.wait(timeout=60) for process in running]
    took = time.monotonic() - began
    said = [message((folder / f"{rank}.log").read_text()) for rank in range(len(running))]
    return {"ends": ends, "took": took, "said": said, "kept": whole_steps(folder)}


def being_written(kept: Path) -> list[str]:
    found = (re.match(r"(\d+)\.orbax-checkpoint-tmp", path.name) for path in kept.iterdir())
    return [match[1] for match in found if match]


def message(log: str) -> str:
    """Return the message with which a process ended, its own or JAX's."""
    own = re.search(rf"^process .*{GONE}.*$", log, flags=re.MULTILINE)
    from_jax = re.search(r"Terminating process because .*? another task died", log)
    found = own or from_jax
    return found[0] if found else ""


def apart(found: dict[str, np.ndarray], alone: dict[str, np.ndarray]) -> list[float]:
    return [float(np.abs(found[name] - alone[name]).max()) for name in alone]


def main(*, processes: tuple[int, ...] = (2, 4), kill: tuple[int, ...] = ()) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        root, results, lost = Path(name), {}, {}
        x, y, *_ = digits()
        np.savez(root / "digits.npz", x=x, y=y)
        print(
            f"{'processes':>9} {'kernel':>9} {'losses':>9} {'weights':>9}   (differences from one)"
        )
        for count in (1, *processes):
            folder = root / str(count)
            results[count] = finish(folder, start(folder, count))
            shown = " ".join(f"{each:9.1e}" for each in apart(results[count], results[1]))
            print(f"{count:9d} {shown}", flush=True)
        for count in kill:
            folder = root / f"killed {count}"
            lost[count] = kill_one(folder, start(folder, count))
            print(f"{count} processes, one killed: all ended within {lost[count]['took']:.0f} s")
            for rank, said in enumerate(lost[count]["said"]):
                print(f"  {rank}: {'killed' if rank == 1 else said}")
            print(f"  complete checkpoints: steps {', '.join(map(str, lost[count]['kept']))}")
            resumed = finish(folder, start(folder, count))
            same = all(
                resumed[key].tobytes() == right.tobytes() for key, right in results[count].items()
            )
            lost[count]["same"] = same
            print(f"  resumed: {'the same bits as undisturbed' if same else 'a different result'}")
    return {"results": results, "lost": lost}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, nargs="+", default=(2, 4), choices=(2, 4))
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(Path(given.work[0]), int(given.work[1]), int(given.work[2]), given.work[3])
    else:
        counts = tuple(given.processes)
        main(processes=counts, kill=counts if given.kill else ())
