"""Constants of `costs` and margins of `choose`, fitted to measurements.

Written by `python -m jaxconv.bench.fit` from 1525 problems in float32,
235 of them of layers and planes, the others random
(2 cores, avx2 avx512f avx512_vnni avx512_bf16, 2026-11-26,
jax 0.10.2). Regret of problems that were left out of the fit in turn, median
and 95th percentile: 1.00 and 1.73 with the plugin,
1.00 and 2.31 without the plugin.

Those of `shifts` were fitted apart by `jaxconv.bench.fit.fit`, to 33 problems forward and 27
gradients of kernels (2 cores of an Intel Xeon at 2.5 GHz, avx2 avx512f avx512_vnni, 2026-11-28,
jax 0.10.2): planes of 64 to 1024 with kernels of 5 to 90 and layers of up to 16 channels. Predicted
beside measured: 0.91 to 1.07 in the middle half; the forward ones are 1.2 times that, which is what
other problems took. `taps` was made faster at the same time; its
constants of before expect 0.83 to 1.15 of what it takes on that machine, and stay.
"""

from collections.abc import Mapping

# What is taken unless another is expected to need less than this part of its time.
MARGINS: Mapping[str, float] = {"onednn": 0.8, "lax": 0.9}

# Seconds a unit of each term, by method and contraction.
# fmt: off
CONSTANTS: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("columns", "output"): {
        "call": 8.1e-06, "root of work": 5.2e-08, "elementwise moved thinly": 3.7e-10,
        "elementwise lines": 5.9e-11, "dense moved": 7.3e-10, "dense moved thinly": 8.4e-10,
        "dense lines": 2.9e-09, "dense tiny lines": 9.5e-09, "dense work of few read": 1.3e-10,
        "grouped moved": 1.6e-09, "grouped lines": 4e-09, "grouped tiny work": 1.2e-09,
        "grouped work of few": 3.2e-10,
    },
    ("fft", "output"): {
        "call": 4e-05, "x": 1.3e-09, "w": 1.8e-09, "root of x": 1.8e-07, "channels first": 8.3e-10,
        "transforms": 1.1e-10, "kernels": 2.4e-10, "fresh kernels": 1.9e-09, "spectra": 3.2e-10,
        "planes": 1.4e-08,
    },
    ("lax", "output"): {
        "call": 1.1e-05, "y": 5.4e-11, "work": 8.2e-12, "root of x": 2.9e-07, "root of y": 1.5e-07,
        "root of w": 1.4e-07, "fresh": 1.8e-09, "single odd windows": 1.5e-09,
        "single runs": 7.1e-09, "single work of few read": 3.1e-10, "layer plane windows": 7.1e-11,
        "layer ragged windows": 2.1e-10, "layer runs": 7e-09, "layer work of few": 4.7e-11,
        "volume windows": 9.8e-10, "volume thin windows": 2.9e-09, "volume padded windows": 1.3e-09,
        "volume runs": 2.6e-08, "volume work of few read": 5.9e-11, "grouped windows": 2.8e-10,
        "grouped plane windows": 7.8e-10, "grouped odd windows": 2e-10,
        "grouped ragged windows": 2.3e-10, "grouped thin windows": 1.6e-09,
        "grouped padded windows": 1.8e-10, "grouped runs": 1.7e-08, "elementwise": 6.1e-11,
        "elementwise shared": 2.4e-05,
    },
    ("onednn", "output"): {
        "call": 7.9e-06, "w": 2.2e-10, "root of x": 3.6e-08, "fresh": 3.4e-10,
        "single work": 4.3e-12, "single read": 1.1e-10, "single entries": 1.1e-08,
        "single windows": 4.7e-12, "single images": 1.3e-07, "single lines": 2.1e-09,
        "single odd work": 1.7e-11, "single line work": 8e-12, "few made": 2.2e-10,
        "few entries": 3e-08, "few work of few read": 4.3e-12, "few work of few made": 5.6e-11,
        "few lines": 4.1e-10, "depthwise read": 2.1e-11, "depthwise made": 8.2e-11,
        "depthwise work of few made": 1.7e-10, "depthwise odd work": 6.9e-12,
        "depthwise ragged work": 5.4e-12, "repeated work": 1.5e-11, "repeated made": 4.2e-10,
        "repeated entries": 1.6e-09, "repeated windows": 5.9e-12, "grouped made": 6.9e-11,
        "grouped windows": 4.8e-11, "grouped images": 2.6e-07, "grouped work of few made": 1.3e-10,
        "grouped lines": 2.1e-10, "dense read": 1.6e-11, "dense made": 7.9e-11,
        "dense entries": 3.5e-10, "dense images": 1.1e-06, "dense work of few made": 1.4e-10,
        "dense lines": 5.2e-10, "dense odd work": 5e-13, "product entries": 2.3e-08,
        "product windows": 2.6e-10, "product work of few read": 1.7e-10,
        "product line work": 2.2e-11,
    },
    ("shifts", "output"): {
        "x": 5.6e-09, "w": 7.4e-08, "products": 3.8e-06, "product work": 1.3e-11,
        "read rows": 3.5e-10, "made rows": 4.4e-10,
    },
    ("slabs", "output"): {
        "x": 1e-09, "root of x": 3.7e-07, "root of y": 1.1e-06, "fresh": 5.1e-09,
        "inner work": 5.2e-12, "single windows": 2.2e-09, "single padded windows": 3e-09,
        "single work of few places": 3.2e-10, "layer windows": 3.4e-10, "layer runs": 7.9e-09,
        "layer work of few places": 6.3e-09, "grouped thin windows": 1.5e-09,
        "grouped work of few": 2e-09,
    },
    ("taps", "output"): {
        "call": 6.7e-06, "x": 1.4e-10, "w": 4.5e-09, "work": 2.2e-11, "root of work": 6.3e-08,
        "fresh": 1.8e-09, "half work": 4.5e-10, "few work": 3e-11, "entries": 1.9e-07,
        "pairs": 6.4e-09, "moved work": 4.1e-11, "strided": 2.2e-10, "elementwise": 5.9e-11,
    },
    ("columns", "input"): {
        "call": 6.4e-06, "y": 2.4e-11, "w": 1e-09, "root of x": 2.8e-08, "root of y": 1.2e-07,
        "root of w": 1.7e-07, "root of work": 1.9e-08, "dense moved thinly": 1.1e-09,
        "dense lines": 2.3e-09, "dense tiny lines": 1e-08, "dense work of few places": 5.7e-10,
        "grouped moved": 7.1e-10, "grouped lines": 5.4e-09, "grouped work of few": 2.2e-10,
    },
    ("fft", "input"): {
        "call": 4.2e-05, "x": 1e-09, "y": 1.8e-09, "root of w": 1.5e-07, "transforms": 1.5e-10,
        "kernels": 2.9e-10, "fresh kernels": 3.2e-09, "spectra": 1.9e-10,
        "spectra in products": 1.6e-10, "planes": 1.6e-08,
    },
    ("lax", "input"): {
        "call": 1e-05, "x": 1.9e-10, "y": 2.5e-10, "w": 6.7e-10, "work": 9.7e-12,
        "root of w": 4.6e-07, "root of work": 3.4e-08, "fresh": 1.1e-09,
        "single plane windows": 1.4e-09, "single odd windows": 1.9e-09,
        "single padded windows": 9.5e-10, "single work of few": 6.3e-10,
        "layer thin windows": 4.8e-09, "layer padded windows": 5.4e-11,
        "layer spread work": 1.8e-13, "volume windows": 1.4e-09, "volume thin windows": 1.4e-08,
        "volume runs": 6.4e-09, "volume spread work": 1.3e-10, "grouped plane windows": 1.1e-09,
        "grouped spread windows": 2.5e-09, "grouped ragged windows": 5e-10,
        "grouped thin windows": 3.7e-09, "grouped runs": 2.4e-08,
        "grouped work of few places": 1.7e-09, "elementwise": 8e-11, "elementwise shared": 2.6e-05,
    },
    ("onednn", "input"): {
        "call": 8.1e-06, "x": 1.2e-11, "root of x": 4.6e-08, "root of w": 1.4e-08, "fresh": 2.7e-10,
        "single work": 6.2e-12, "single read": 9e-11, "single windows": 1.8e-12,
        "single images": 1.4e-07, "single lines": 1.9e-09, "single odd work": 1.2e-11,
        "single line work": 8e-12, "few read": 2.5e-11, "few windows": 2.8e-11,
        "few odd work": 9.6e-12, "few volume work": 4e-11, "few line work": 6.5e-12,
        "depthwise read": 5.1e-11, "depthwise work of few made": 2e-10, "depthwise lines": 1.6e-10,
        "depthwise odd work": 1.2e-11, "depthwise volume work": 6.4e-12, "repeated read": 3.4e-10,
        "repeated made": 8.2e-10, "repeated images": 4.7e-08, "repeated work of few made": 4.2e-10,
        "repeated volume work": 3e-11, "grouped entries": 1.8e-10, "grouped images": 1.3e-07,
        "grouped work of few read": 1.6e-10, "grouped lines": 3.8e-10, "grouped odd work": 3.9e-12,
        "grouped volume work": 1.9e-10, "grouped line work": 1.3e-12, "dense read": 3.3e-11,
        "dense made": 3.7e-11, "dense entries": 5e-10, "dense images": 1.1e-07,
        "dense work of few read": 1.5e-10, "dense lines": 1e-09, "dense ragged work": 1.7e-12,
        "product read": 1.5e-10, "product made": 6.4e-11, "product entries": 4.5e-10,
        "product windows": 5.4e-10, "product images": 3.6e-07, "product work of few read": 4.6e-11,
    },
    ("phases", "input"): {
        "call": 1.8e-05, "x": 8.6e-11, "y": 7.9e-10, "w": 1.1e-09, "root of x": 2.2e-07,
        "layer thin windows": 3.5e-09, "layer padded windows": 1.9e-10, "layer product": 2.8e-12,
        "layer work of few": 1.5e-10, "layer work of few places": 6.5e-10,
        "volume windows": 2.9e-09, "volume runs": 7.5e-08, "volume work of few read": 4e-11,
        "volume work of few places": 6.7e-09, "grouped ragged windows": 3e-10,
        "grouped thin windows": 3.8e-09, "grouped runs": 2.4e-07,
        "grouped work of few places": 1e-08,
    },
    ("shifts", "input"): {
        "y": 5.6e-09, "w": 7.4e-08, "products": 3.8e-06, "product work": 1.3e-11,
        "read rows": 3.5e-10, "made rows": 4.4e-10,
    },
    ("slabs", "input"): {
        "call": 3.2e-05, "y": 3.7e-09, "work": 1e-11, "root of x": 5e-07, "single windows": 4.9e-09,
        "single padded windows": 2.7e-09, "layer thin windows": 1.2e-08,
        "grouped ragged windows": 3.3e-09, "grouped runs": 1.6e-08,
        "grouped work of few places": 7.5e-07,
    },
    ("taps", "input"): {
        "call": 5.8e-06, "y": 1.8e-10, "root of w": 6e-07, "root of work": 6.7e-08,
        "fresh": 2.3e-09, "done": 2.4e-11, "half work": 1.1e-10, "few work": 4.3e-11,
        "lines": 9.4e-10, "moved work": 8.5e-11, "looped work": 7e-11, "strided": 1.8e-10,
        "elementwise": 1e-10,
    },
    ("columns", "kernel"): {
        "call": 9.6e-06, "y": 5e-10, "w": 7.6e-10, "work": 8.3e-12, "root of y": 4.8e-07,
        "root of w": 3.2e-07, "fresh": 1.5e-09, "windows": 7.3e-10, "dilated work": 8.3e-12,
    },
    ("fft", "kernel"): {
        "call": 4.5e-05, "x": 2.6e-09, "y": 5e-09, "w": 1.7e-09, "transforms": 1.8e-10,
        "kernels": 1.4e-10, "fresh kernels": 3.5e-09, "spectra": 2.6e-10, "planes": 1.6e-08,
    },
    ("lax", "kernel"): {
        "call": 2.6e-05, "x": 6.6e-10, "w": 4.2e-10, "root of x": 3.3e-07, "root of work": 3.1e-08,
        "fresh": 9e-10, "inner work": 8.6e-12, "single plane windows": 2.5e-10,
        "single odd windows": 6.8e-10, "single padded windows": 6.1e-11,
        "layer plane windows": 2.5e-10, "layer odd windows": 5.9e-10, "layer thin windows": 1.8e-10,
        "layer padded windows": 1.4e-10, "layer product": 2e-11, "layer work of few read": 4.9e-12,
        "layer work of few places": 2.2e-10, "volume windows": 2.8e-09,
        "volume odd windows": 7.7e-09, "volume work of few": 1.1e-10,
        "volume work of few places": 1.6e-09, "grouped windows": 2.1e-10,
        "grouped plane windows": 7.7e-10, "grouped thin windows": 3.2e-09,
        "grouped padded windows": 2.1e-10, "grouped work of few places": 2.1e-09,
        "work of pairs of groups": 2.4e-10, "elementwise": 3.3e-10,
    },
    ("onednn", "kernel"): {
        "call": 7.7e-06, "x": 1.5e-11, "w": 3.1e-10, "root of x": 9.4e-09, "root of w": 5.2e-08,
        "root of work": 3.3e-09, "fresh": 2.5e-10, "single read": 6.1e-11,
        "single entries": 9.8e-08, "single images": 4.8e-08, "single work of few read": 6.1e-12,
        "single lines": 1.3e-08, "single odd work": 3.4e-11, "single line work": 2.3e-11,
        "few read": 7.9e-11, "few entries": 5.5e-08, "few work of few made": 2.7e-11,
        "few lines": 2.4e-09, "few line work": 1.7e-11, "depthwise made": 3.2e-11,
        "depthwise entries": 3.2e-09, "depthwise windows": 1.1e-12,
        "depthwise work of few made": 2e-10, "depthwise lines": 3.4e-10,
        "depthwise odd work": 4.7e-11, "depthwise line work": 2.6e-12,
        "depthwise ragged work": 8.9e-12, "repeated read": 6.7e-10, "repeated windows": 9.3e-11,
        "grouped made": 8.8e-11, "grouped images": 4.8e-08, "grouped work of few made": 2e-10,
        "dense made": 3.2e-11, "dense windows": 2.4e-11, "dense images": 1.1e-07,
        "dense work of few made": 1.6e-10, "product read": 5.3e-10, "product entries": 1.9e-10,
        "product windows": 4.5e-10, "product images": 1.3e-06, "product work of few read": 6.4e-11,
        "product odd work": 5.7e-12, "product volume work": 9e-10,
    },
    ("products", "kernel"): {
        "w": 6.5e-10, "root of x": 4.9e-08, "root of y": 5.1e-07, "root of w": 3.1e-07,
        "fresh": 2.8e-09, "entries": 3.9e-07, "reads": 2.5e-10, "very thin work": 2.1e-10,
    },
    ("shifts", "kernel"): {
        "w": 1.3e-07, "products": 4.6e-06, "product work": 1.2e-11, "read rows": 4.1e-10,
        "made rows": 6.8e-10,
    },
    ("taps", "kernel"): {
        "call": 5.1e-06, "x": 9.3e-11, "w": 6.1e-10, "work": 1.3e-11, "root of y": 3e-07,
        "root of w": 2.8e-07, "fresh": 3e-09, "groups": 1.2e-06, "reads": 3.1e-10,
        "rows work": 2.8e-09, "rows entries": 1.3e-06, "rows sums": 1.7e-10, "rows looped": 2.1e-10,
    },
}
