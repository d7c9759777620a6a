"""Ways to compute a convolution, one file a way.

A method is up to three functions, one a contraction of the trilinear form, that all have the
signature `(a, b, spec, *, precision, dtype) -> array`: two of the three arrays with one batch axis
(x: (n, *space, in), w: (*kernel, in // groups, out), y: (n, *space', out)), the geometry, and the
dtype of the result. `METHODS` is the one list of them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxconv.methods import fft, lax, loops, taps
from jaxconv.spec import Contraction, ConvSpec

METHODS: Mapping[str, Mapping[str, Callable[..., jax.Array]]] = {
    "lax": lax.CONTRACTIONS,
    "loops": loops.CONTRACTIONS,
    "taps": taps.CONTRACTIONS,
    "fft": fft.CONTRACTIONS,
}

# Why a method does not serve a (contraction, spec, dtype of the result), or None; methods that
# are not listed serve all.
REFUSES: Mapping[str, Callable[[Contraction, ConvSpec, Any], str | None]] = {"fft": fft.refuses}
