"""Random convolutions through the plugin, compared with the explicit loops of `jaxconv.reference`.

    python native/fuzz.py --count 2000 --seed 0
    python native/fuzz.py --count 1000 --seed 0 --long
    python native/fuzz.py --count 300 --seed 0 --stem

Run it from the repository's root with jaxconv and the plugin installed. Every spec is computed in
all three contractions; a failure prints the code of its spec. `--long` draws long kernels over one
channel for each group, for the plugin's own kernels, `--stem` large layers of few input channels;
both compare with `jaxconv.bench.float64_answers`, as the explicit loops would take minutes.
"""

import argparse
import functools
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# imported after the path is set
import cases  # noqa: E402
import jaxconv_onednn  # noqa: E402

from jaxconv._core.geometry.spec import ConvSpec  # noqa: E402
from jaxconv._core.methods import onednn  # noqa: E402
from jaxconv.bench import float64_answers  # noqa: E402

CHANNELS = (1, 1, 2, 3, 4, 5, 8, 15, 16, 17, 32)
# pairs of an output position and a kernel position, over which the reference loops in Python
MOST_PAIRS = 800
MOST_TERMS = 1_000_000


def as_spec(stride, dilation, margins, groups: int, size, kernel) -> ConvSpec:
    """Return the spec of NumPy's integers, `margins` those before and after."""
    stride, dilation, size, kernel = (
        tuple(map(int, each)) for each in (stride, dilation, size, kernel)
    )
    padding = tuple((int(lo), int(hi)) for lo, hi in zip(*margins, strict=True))
    return ConvSpec(stride, dilation, padding, groups, size, kernel)


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
        spec = as_spec(stride, dilation, (before, after), groups, size, kernel)
        batch = int(rng.integers(1, 4))
        if min(spec.output_size) < 1:
            continue
        pairs = int(np.prod(spec.output_size) * np.prod(spec.kernel_size))
        terms = pairs * batch * groups * inputs * outputs
        if pairs <= MOST_PAIRS and terms <= MOST_TERMS:
            return spec, batch, inputs, outputs


# entries of a kernel, over which `float64_answers` loops in Python, and its multiplications
MOST_ENTRIES = 2500
MOST_PRODUCTS = 2e7


def long_case(rng: np.random.Generator) -> tuple[ConvSpec, int, int, int]:
    """Return what `random_case` does, of kernels that may be longer than the line."""
    while True:
        rank = int(rng.choice([1, 1, 2, 2, 3]))
        # the last dimension is the long one
        longest = int(rng.choice([20, 70, 300, 1000] if rank == 1 else [5, 33, 70]))
        kernel = np.array([*rng.integers(1, (2, 5, 34)[rng.integers(3)], rank - 1), 0])
        kernel[-1] = rng.integers(1, longest + 1)
        size = np.array([*rng.integers(1, 40, rank - 1), 0])
        size[-1] = rng.integers(1, 2000 if rank == 1 else 120)
        stride = rng.choice([1, 1, 1, 2, 3, 4], rank)
        dilation = rng.choice([1, 1, 1, 2, 3, 4, 16], rank)
        reach = (kernel - 1) * dilation
        most = np.stack([reach // 2, reach - reach // 2])
        pads = (np.stack([reach, 0 * reach]), most, rng.integers(-2, reach + 2, (2, rank)))
        before, after = pads[rng.integers(3)]
        groups = int(rng.choice([1, 1, 1, 2, 3, 4, 5, 8, 16]))
        spec = as_spec(stride, dilation, (before, after), groups, size, kernel)
        batch, entries = int(rng.integers(1, 4)), int(np.prod(kernel))
        left = size + np.minimum(before, 0) + np.minimum(after, 0)
        if min(*spec.output_size, *left) < 1 or entries > MOST_ENTRIES:
            continue
        if entries * np.prod(spec.output_size) * batch * groups <= MOST_PRODUCTS:
            return spec, batch, 1, 1


# results of an image, from which the plugin's own kernels serve for few input channels
LEAST_RESULTS = 1 << 19


def stem_case(rng: np.random.Generator) -> tuple[ConvSpec, int, int, int]:
    """Return what `random_case` does, of large dense layers of few input channels."""
    while True:
        rank = int(rng.integers(1, 4))
        pick = functools.partial(rng.integers, size=rank)
        kernel = pick(1, (20, 8, 4)[rank - 1])
        stride, dilation = rng.choice([1, 1, 2, 3, 4, 5], rank), rng.choice([1, 1, 1, 2, 5], rank)
        before, after = pick(-2, kernel * dilation + 3), pick(-2, kernel * dilation + 3)
        if rng.random() < 0.3:  # what networks use
            dilation[:] = 1
            before, after = (kernel - 1) // 2, kernel // 2
        batch, inputs = int(rng.integers(1, 4)), int(rng.integers(1, 5))
        outputs = int(rng.choice([17, 24, 32, 33, 48, 50, 64, 80, 96, 100, 112, 130]))
        # one long dimension or several of like size, and little more than there must be
        out = np.exp(rng.random(rank) * rng.choice([1, 4]))
        out *= (LEAST_RESULTS * rng.uniform(1, 1.5) / outputs / out.prod()) ** (1 / rank)
        size = np.maximum(1, (np.ceil(out) - 1) * stride + (kernel - 1) * dilation + 1)
        spec = as_spec(stride, dilation, (before, after), 1, size - before - after, kernel)
        left = np.minimum(size - before - after, np.minimum(size - before, size - after))
        if min(left) < 1 or min(spec.output_size) < 1:
            continue
        results = outputs * int(np.prod(spec.output_size))
        if (
            results >= LEAST_RESULTS
            and batch * results * inputs * np.prod(kernel) <= MOST_PRODUCTS * 10
        ):
            return spec, batch, inputs, outputs


def assert_exact(actual, contraction: str, a: np.ndarray, b: np.ndarray, spec: ConvSpec) -> None:
    """As `cases.assert_matches`, against `float64_answers`."""
    want, scale = (
        float64_answers.contract(contraction, f(a), f(b), spec) for f in (np.asarray, np.abs)
    )
    error = np.abs(np.asarray(actual, np.float64) - want)
    worst = float(np.max(error - cases.TOLERANCE["float32"] * scale))
    assert worst <= 0, f"{contraction} is off by {error.max()} (scale {scale.max()})"


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Normal numbers, away from zero: a product must not be below float16's normal range."""
    array = cases.random(rng, shape, dtype)
    return np.where(np.abs(array) < 1 / 16, 1 / 16, array).astype(array.dtype)


def check(seed: int, *, draw: Callable = random_case) -> tuple[str, list[str]]:
    """Compare one random spec in all three contractions; return it as text, and what is wrong."""
    rng = np.random.default_rng(seed)
    spec, batch, inputs, outputs = draw(rng)
    own = draw is not random_case
    dtype = str(rng.choice(["float32", "float32", *([] if own else ["bfloat16", "float16"])]))
    result = str(rng.choice([dtype, "float32"]))
    shapes = {
        "x": (batch, *spec.input_size, inputs * spec.groups),
        "w": (*spec.kernel_size, inputs, outputs * spec.groups),
        "y": (batch, *spec.output_size, outputs * spec.groups),
    }
    arrays = {name: _random(rng, shape, dtype) for name, shape in shapes.items()}
    line = f"--seed {seed} --count 1" + f" --{draw.__name__.removesuffix('_case')}" * own
    what = f"{line}: {dtype} -> {result}, batch {batch}, {shapes['w']}, {spec}"
    wrong = []
    for contraction, method in onednn.METHOD.contractions.items():
        if contraction == "kernel" and onednn.takes_unstrided(inputs, spec):
            continue  # its pieces are tested by themselves
        a, b = (arrays[name] for name in cases.OPERANDS[contraction])
        compute = jax.jit(functools.partial(method, spec=spec, dtype=jnp.dtype(result)))
        try:
            compare = assert_exact if own else cases.assert_matches
            compare(compute(a, b), contraction, a, b, spec)
        except Exception as error:
            wrong.append(f"{contraction}: {str(error).splitlines()[0]}")
    jax.clear_caches()
    return f"{dtype} rank {spec.rank}", [f"{what}: {line}" for line in wrong]


def main() -> int:
    """Run the specs of `count` seeds and say how many were wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    kinds_of_spec = parser.add_mutually_exclusive_group()
    for draw in (long_case, stem_case):
        name = f"--{draw.__name__.removesuffix('_case')}"
        kinds_of_spec.add_argument(
            name, dest="draw", action="store_const", const=draw, default=random_case
        )
    options = parser.parse_args()
    started, kinds, failures = time.perf_counter(), Counter(), 0
    for seed in range(options.seed, options.seed + options.count):
        kind, wrong = check(seed, draw=options.draw)
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
