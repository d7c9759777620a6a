"""Time ten learning steps, compiled, against torch's eager and compiled loops.

    python examples/benchmark_learning.py

The measurement is the `learn` suite of `jaxconv bench` (`jaxconv/bench/learning.py`): the kernel of
the 6x8 edge image, then a thousand kernels at once. Losses and kernels are compared with float64
before anything is timed.
"""

import sys

from jaxconv.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "--suite", "learn", *sys.argv[1:]]))
