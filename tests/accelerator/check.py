"""Check jaxconv on whatever device JAX has that is no CPU, and write what was found as JSON.

    python tests/accelerator/check.py --output FILE          what `make test-accelerator` runs
    python tests/accelerator/check.py --only table/taps/     the checks whose names begin so
    python tests/accelerator/check.py --platform cpu         the same on CPU devices

| checks | what |
|---|---|
| table | each method, contraction and dtype on the cases of `tests/cases.py` |
| gradients, vmap, second | derivatives, and mapped axes, of each method and contraction |
| policies | what a `Policy` names is what runs: `explain`, the program's text, kinds of devices |
| layers, learn, tiles | those of Flax, `fit_kernel` and `solve_kernel`, `apply_tiled` |
| sharded | values, gradients and traffic over all devices there are |

float32 has every case; the other dtypes and the derivatives have six, or with `--whole` every case.
The policy of a method of integers alone is checked in int8. All values are compared with the loops
of `jaxconv.reference` in float64, within the tolerances of `tolerances.py`. The JSON has a record
of each check: its name, method, contraction and dtype, the largest error divided by its bound, the
seconds it took, and whether it is ok, failed or refused, with the reason; and the device, the
versions and the date. It is written after each check.

Exit code: 0; 1 if a check failed; 2 for wrong arguments; 3 if JAX has no such device.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":  # not this folder, whose modules are those of the package `accelerator`
    sys.path[0:1] = [str(ROOT), str(ROOT / "tests")]

import jax  # noqa: E402 (after the path)

from accelerator import (  # noqa: E402 (after the path)
    policies,
    running,
    sharded,
    table,
    tiled,
    tolerances,
    transforms,
    users,
)

FAILED, NO_DEVICE = 1, 3
# As many CPU devices, for `--platform cpu`.
CPU_DEVICES = 4
# Other names of a platform.
ALIASES = {"cuda": "gpu", "rocm": "gpu"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the checks and return the exit code."""
    options = _parser().parse_args(arguments)
    here = _platform(options.platform)
    wanted = ALIASES.get(options.platform, options.platform)
    if here != wanted and (wanted or here == "cpu"):
        print(f"nothing was checked: JAX has no {wanted or 'device but the CPU'} here")
        return NO_DEVICE
    scope = running.Scope.here(small=options.small, whole=options.whole)
    about = {**running.facts(scope), "tolerances": tolerances.all_of(scope.platform)}
    print(f"{about['devices']} x {about['device_kind']} ({scope.platform}), {about['versions']}")
    chosen = [
        check
        for check in checks(scope)
        if not options.only or check.name.startswith(tuple(options.only))
    ]
    if not chosen:
        print(f"nothing was checked: no check's name begins with {' or '.join(options.only)}")
        return 2
    records = running.run(chosen, about, options.output)
    return FAILED if any(record.status == "failed" for record in records) else 0


def checks(scope: running.Scope) -> Iterator[running.Check]:
    """Yield every check."""
    for module in (table, transforms, policies, users, tiled, sharded):
        yield from module.checks(scope)


def _platform(asked: str | None) -> str:
    """Return the platform that JAX uses: the CPU if it is asked for, or else JAX's own choice."""
    if asked == "cpu":
        jax.config.update("jax_platforms", "cpu")
        if jax.config.jax_num_cpu_devices < 0:  # not set by the caller
            jax.config.update("jax_num_cpu_devices", CPU_DEVICES)
    return jax.default_backend()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--platform", help="cpu, gpu, tpu: where to run; by default no CPU")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="a few checks that stand for all")
    size.add_argument("--whole", action="store_true", help="every case in every dtype")
    parser.add_argument("--only", nargs="+", default=[], help="how the checks' names begin")
    parser.add_argument("--output", type=Path, help="the JSON file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
