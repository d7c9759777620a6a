"""Random convolutions through the plugin, compared with the explicit loops of `jaxconv.reference`.

    python native/fuzz.py --count 2000 --seed 0

Run it from the repository's root with jaxconv and the plugin installed. Every spec is computed in
all three contractions; a failure prints the line that makes its spec again.
"""

import argparse
import functools
import sys
import time
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# after the path that they are found on
import cases  # noqa: E402
import jaxconv_onednn  # noqa: E402

from jaxconv.methods import onednn  # noqa: E402
from jaxconv.spec import ConvSpec  # noqa: E402

CHANNELS = (1, 1, 2, 3, 4, 5, 8, 15, 16, 17, 32)
# the reference loops over these in Python: pairs of an output position and a kernel position
MOST_PAIRS = 800
MOST_TERMS = 1_000_000


def random_case(rng: np.random.Generator) -> tuple[ConvSpec, int, int, int]:
    """Return a spec, the batch size and the channels in a group of x and of y."""
    while True:
        rank = int(rng.integers(1, 4))
        pick = functools.partial(rng.integers, size=rank)
        kernel, stride, dilation = pick(1, (8, 6, 4)[rank - 1]), pick(1, 4), pick(1, 4)
        size = pick(1, (60, 20, 9)[rank - 1])
        before, after = pick(-2, kernel * dilation + 3), pick(-2, kernel * dilation + 3)
        if rng.random() < 0.2:
            kernel[:] = 1  # mixes channels only, in kernels of oneDNN's own
        if rng.random() < 0.3:  # what networks use
            dilation[:] = 1
            before, after = (kernel - 1) // 2, kernel // 2
        groups = int(rng.choice([1, 1, 1, 2, 3, 4, 8, 16, 17, 32, 64]))
        inputs, outputs = (int(c) for c in rng.choice(CHANNELS, 2))
        if groups > 8:
            inputs, outputs = 1, int(rng.choice([1, 1, 2]))
        spec = ConvSpec(
            tuple(map(int, stride)),
            tuple(map(int, dilation)),
            tuple((int(lo), int(hi)) for lo, hi in zip(before, after, strict=True)),
            groups,
            tuple(map(int, size)),
            tuple(map(int, kernel)),
        )
        batch = int(rng.integers(1, 4))
        if min(spec.output_size) < 1:
            continue
        pairs = int(np.prod(spec.output_size) * np.prod(spec.kernel_size))
        terms = pairs * batch * groups * inputs * outputs
        if pairs <= MOST_PAIRS and terms <= MOST_TERMS:
            return spec, batch, inputs, outputs


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Normal numbers, away from zero: a product must not be below float16's normal range."""
    array = cases.random(rng, shape, dtype)
    return np.where(np.abs(array) < 1 / 16, 1 / 16, array).astype(array.dtype)


def check(seed: int) -> tuple[str, list[str]]:
    """Compare one random spec in all three contractions; return it as text, and what is wrong."""
    rng = np.random.default_rng(seed)
    spec, batch, inputs, outputs = random_case(rng)
    dtype = str(rng.choice(["float32", "float32", *jaxconv_onednn.dtypes()]))
    result = str(rng.choice([dtype, "float32"]))
    shapes = {
        "x": (batch, *spec.input_size, inputs * spec.groups),
        "w": (*spec.kernel_size, inputs, outputs * spec.groups),
        "y": (batch, *spec.output_size, outputs * spec.groups),
    }
    arrays = {name: _random(rng, shape, dtype) for name, shape in shapes.items()}
    what = f"--seed {seed} --count 1: {dtype} -> {result}, batch {batch}, {shapes['w']}, {spec}"
    wrong = []
    for contraction, method in onednn.CONTRACTIONS.items():
        if contraction == "kernel" and onednn.goes_round(inputs, spec):
            continue  # its pieces are tested by themselves
        a, b = (arrays[name] for name in cases.OPERANDS[contraction])
        compute = jax.jit(functools.partial(method, spec=spec, dtype=jnp.dtype(result)))
        try:
            cases.assert_matches(compute(a, b), contraction, a, b, spec)
        except Exception as error:
            wrong.append(f"{contraction}: {str(error).splitlines()[0]}")
    jax.clear_caches()
    return f"{dtype} rank {spec.rank}", [f"{what}: {line}" for line in wrong]


def main() -> int:
    """Run the specs of `count` seeds and say how many were wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started, kinds, failures = time.perf_counter(), Counter(), 0
    for seed in range(options.seed, options.seed + options.count):
        kind, wrong = check(seed)
        kinds[kind] += 1
        failures += bool(wrong)
        for line in wrong:
            print(line, flush=True)
    seconds = time.perf_counter() - started
    last = options.seed + options.count - 1
    print(
        f"seeds {options.seed} to {last}: {options.count} specs, {failures} wrong, {seconds:.0f} s"
    )
    print(", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items())))
    print(jaxconv_onednn.cache_info())
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
