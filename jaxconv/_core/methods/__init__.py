"""Ways to compute a convolution, one file a way.

A method is up to three functions, one a contraction of the trilinear form, that all have the
signature `(a, b, spec, *, precision, dtype) -> array`: two of the three arrays with one batch axis
(x: (n, *space, in), w: (*kernel, in // groups, out), y: (n, *space', out)), the geometry, and the
dtype of the result. `METHODS` is the one list of them. A method that cannot serve every spec and
dtype has a function `refuses(contraction, spec, dtype)`, which returns why not, or None; `REFUSES`
lists those.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv._core.methods import (
    columns,
    fft,
    lax,
    loops,
    onednn,
    phases,
    products,
    shifts,
    slabs,
    taps,
)

METHODS: Mapping[str, Mapping[str, Callable[..., jax.Array]]] = {
    "lax": lax.CONTRACTIONS,
    "loops": loops.CONTRACTIONS,
    "onednn": onednn.CONTRACTIONS,
    "taps": taps.CONTRACTIONS,
    "fft": fft.CONTRACTIONS,
    "columns": columns.CONTRACTIONS,
    "phases": phases.CONTRACTIONS,
    "products": products.CONTRACTIONS,
    "shifts": shifts.CONTRACTIONS,
    "slabs": slabs.CONTRACTIONS,
}
REFUSES: Mapping[str, Callable[[Contraction, ConvSpec, jnp.dtype], str | None]] = {
    "fft": fft.refuses,
    "columns": columns.refuses,
    "onednn": onednn.refuses,
    "phases": phases.refuses,
    "shifts": shifts.refuses,
    "slabs": slabs.refuses,
}

# Methods whose compiled programs call into a library of this process: they are for CPUs, no such
# program can be exported, and XLA cannot partition it.
CALLS_OUT = frozenset({"onednn"})
