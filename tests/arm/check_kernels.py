"""Compile the plugin's own kernels for NEON, run them on an emulated CPU, check every value.

    python tests/arm/check_kernels.py                       what `make test-arm` runs
    python tests/arm/check_kernels.py --isa avx2 avx512f    the same on an x86-64 that has these

Each problem of a grid is computed by `compute.cc` and compared with the explicit loops of
`jaxconv.reference`, on one thread and on three. The arrays lie between pages that must not be
touched. On a machine of aarch64 nothing is emulated. Exit code 1 if a value is wrong, or if a tool
is missing.
"""

import argparse
import importlib.util
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import BinaryIO

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cases import CONTRACTIONS, OPERANDS, Case, assert_matches  # noqa: E402 (after the path)

# floats of a vector
LANES = {"neon": 4, "avx2": 8, "avx512f": 16}
KINDS = {"depthwise": 0, "grouped": 0, "plane": 1, "stem": 2}
THREADS = (1, 3)
BATCH = 2

# size, kernel, stride, dilation, padding
SPACES = (
    ((37,), (5,), 1, 1, "same"),
    ((40,), (4,), 2, 1, "valid"),
    ((41,), (3,), 3, 2, ((1, 4),)),
    ((23,), (6,), 1, 3, "same"),
    ((9, 21), (3, 3), 1, 1, "same"),
    ((9, 20), (3, 3), 2, 1, "same"),
    ((8, 19), (2, 5), (1, 3), (2, 1), "valid"),
    ((11, 14), (3, 4), (2, 1), (1, 2), ((0, 2), (5, 1))),
    ((6, 30), (7, 2), 1, 1, "same"),
    ((3, 5), (3, 9), 1, 1, "same"),
    ((7, 9), (1, 1), 1, 1, "valid"),
    ((4, 5, 12), (2, 3, 3), 1, 1, "same"),
    ((5, 6, 9), (3, 2, 2), (2, 1, 2), (1, 2, 1), "valid"),
)
# for kernels that take a row in pieces
LONG_ROWS = (
    ((1100,), (3,), 1, 1, "same"),
    ((1300,), (2,), 2, 3, "same"),
    ((3, 290), (2, 2), 1, 1, "valid"),
)
# of which line kernels serve those whose vectors repeat
LINES = (
    ((130,), (50,), 1, 1, "same"),
    ((60,), (70,), 1, 1, "same"),
    ((300,), (33,), 1, 2, "valid"),
    ((300,), (49,), 2, 1, "same"),
    ((3, 90), (1, 51), (2, 1), 1, ((0, 0), (50, 7))),
    ((90,), (36,), 1, 4, ((60, 0),)),
)
# channels of x and y
STEMS = ((1, 5), (1, 33), (2, 17), (3, 9), (3, 24), (3, 70), (4, 50))


@dataclass(frozen=True)
class Problem:
    kind: str
    case: Case
    more: int  # channels of a group, or outputs of a stem
    contraction: str
    threads: int

    def __str__(self) -> str:
        case, threads = self.case, self.threads
        text = f"{self.kind} {self.contraction} of x{case.x}, w{case.w}, {case.arguments}"
        return f"{text}, {threads} thread{'s' * (threads > 1)}"

    def header(self) -> np.ndarray:
        """As `compute.cc` reads it: of three dimensions."""
        spec = self.case.spec
        before = tuple(lo for lo, _ in spec.padding)
        sizes = (spec.input_size, spec.kernel_size, spec.output_size, spec.stride, spec.dilation)
        space = [(*(1,) * (3 - spec.rank), *each) for each in sizes]
        space.append((*(0,) * (3 - spec.rank), *before))
        numbers = [KINDS[self.kind], CONTRACTIONS.index(self.contraction), self.threads]
        numbers += [self.case.x[-1], self.more, BATCH]
        return np.array([*numbers, *np.ravel(space)], np.int64)


def layers(isa: str) -> Iterator[tuple[str, tuple, int, int, int]]:
    """Yield the kind, the space, the channels of x and y, and those of x in a group."""
    lanes = LANES[isa]
    for space, c in product(SPACES, (1, 3, 4, 6, 8, 9, 16, 17, 21, 32, 45)):
        yield "depthwise", space, c, c, 1
    for space, (size, groups) in product(SPACES, product((2, 4, 8), (1, 3, 9))):
        if size <= lanes:
            yield "grouped", space, size * groups, size * groups, size
    for space, c in product((*SPACES, *LONG_ROWS, *LINES), range(1, 9)):
        # the rows of several channels are read as one, which has no stride
        if c == 1 or np.ravel(space[2])[-1] == 1:
            yield "plane", space, c, c, 1
    for space, (inputs, outputs) in product((*SPACES, *LONG_ROWS), STEMS):
        if outputs > lanes:
            yield "stem", space, inputs, outputs, inputs


def problems(isa: str) -> Iterator[Problem]:
    for kind, (size, kernel, stride, dilation, padding), inputs, outputs, grouped in layers(isa):
        arguments = {"stride": stride, "dilation": dilation, "padding": padding}
        arguments["groups"] = inputs // grouped
        case = Case(kind, (BATCH, *size, inputs), (*kernel, grouped, outputs), arguments)
        for contraction, threads in product(CONTRACTIONS, THREADS):
            if (kind, contraction) != ("stem", "input"):
                more = outputs if kind == "stem" else grouped
                yield Problem(kind, case, more, contraction, threads)


def tools(isa: str) -> tuple[list[str], list[str]]:
    """Return CMake's options for the compiler, and the command that runs what it makes."""
    emulated = isa == "neon" and platform.machine() != "aarch64"
    missing = [] if shutil.which("cmake") else ["cmake (pip install cmake)"]
    options, emulator = [], []
    if emulated:
        options = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
        if compiler := shutil.which("aarch64-linux-gnu-g++"):
            options += [f"-DCMAKE_CXX_COMPILER={compiler}"]
        elif importlib.util.find_spec("ziglang"):
            options += [f"-DCMAKE_CXX_COMPILER={sys.executable};-m;ziglang;c++"]
            options += ["-DCMAKE_CXX_COMPILER_TARGET=aarch64-linux-musl"]
        else:
            missing.append(
                "aarch64-linux-gnu-g++ (Debian: g++-aarch64-linux-gnu; or pip install ziglang)"
            )
        found = [path for name in ("", "-static") if (path := shutil.which("qemu-aarch64" + name))]
        emulator = found[:1]
        if not found:
            missing.append("qemu-aarch64 (Debian: qemu-user)")
    if missing:
        raise SystemExit(f"the kernels were not run for {isa}, for lack of " + ", ".join(missing))
    return options, emulator


def build(isa: str, options: list[str]) -> Path:
    folder = ROOT / "build" / f"kernels-{isa}"
    configure = ["cmake", "-S", HERE, "-B", folder, f"-DISA={isa}", "-DCMAKE_BUILD_TYPE=Release"]
    for command in ([*configure, *options], ["cmake", "--build", folder, "--parallel"]):
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"the kernels were not built for {isa}:\n{done.stdout}")
    return folder / "compute"


def wrong_value(problem: Problem, results: BinaryIO, kinds: Counter) -> str | None:
    """Compare the next of the results; return what is wrong, and count what computed it."""
    contraction, case = problem.contraction, problem.case
    (missing,) = {"x", "w", "y"} - set(OPERANDS[contraction])
    shape = getattr(case, missing)
    size = int(np.prod(shape))
    read = results.read(8 + 2 * 4 * size)
    if len(read) < 8 + 2 * 4 * size:
        return "no result"
    values, again = np.frombuffer(read, np.float32, offset=8).reshape(2, *shape)
    line = bool(np.frombuffer(read, np.int64, 1)[0])
    kinds["line" if line else problem.kind, contraction] += 1
    try:
        assert_matches(values, contraction, *case.operands(contraction), case.spec)
    except AssertionError as error:
        return str(error)
    if values.tobytes() != again.tobytes():
        return "the result depends on where the arrays lie"
    return None


def check(isa: str) -> int:
    """Return how many problems have wrong results."""
    options, emulator = tools(isa)
    program, wrong, kinds = build(isa, options), 0, Counter()
    grid = list(problems(isa))
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "problems", Path(folder) / "results"
        with given.open("wb") as file:
            for problem in grid:
                file.write(problem.header().tobytes())
                arrays = problem.case.arrays()
                for name in ("x", "w", "y"):
                    if name in OPERANDS[problem.contraction]:
                        file.write(arrays[name].tobytes())
        done = subprocess.run([*emulator, program, given, made], check=False).returncode
        with made.open("rb") as results:
            for problem in grid:
                if error := wrong_value(problem, results, kinds):
                    wrong += 1
                    print(f"{isa}: {problem}: {error}")
                    if done and error == "no result":
                        # the shell's and qemu's statuses for a signal are negative or beyond 128
                        number = -done if done < 0 else done - 128
                        print(f"the program ended there: {signal.strsignal(number) or done}")
                        break
    for kind in ("depthwise", "grouped", "plane", "line", "stem"):
        counts = {contraction: kinds[kind, contraction] for contraction in CONTRACTIONS}
        print(f"{isa}: {kind}: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
    print(f"{isa}: {sum(kinds.values())} of {len(grid)} problems computed, {wrong} wrong")
    # each kernel in each contraction that it has
    unseen = {kind for kind in (*KINDS, "line") for c in CONTRACTIONS if not kinds[kind, c]}
    assert wrong or unseen == {"stem"}, unseen
    return wrong + (done != 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", nargs="+", choices=LANES, default=["neon"])
    return 1 if sum(map(check, parser.parse_args().isa)) else 0


if __name__ == "__main__":
    sys.exit(main())
