"""Ways to compute a convolution, one file a way.

A method is up to three functions, one a contraction of the trilinear form, that all have the
signature `(a, b, spec, *, precision, dtype) -> array`: two of the three arrays with one batch axis
(x: (n, *space, in), w: (*kernel, in // groups, out), y: (n, *space', out)), the geometry, and the
dtype of the result. `METHODS` is the one list of them.
"""

from collections.abc import Callable, Mapping

import jax

from jaxconv.methods import columns, lax, loops, phases, products, slabs, taps

METHODS: Mapping[str, Mapping[str, Callable[..., jax.Array]]] = {
    "lax": lax.CONTRACTIONS,
    "loops": loops.CONTRACTIONS,
    "taps": taps.CONTRACTIONS,
    "columns": columns.CONTRACTIONS,
    "phases": phases.CONTRACTIONS,
    "products": products.CONTRACTIONS,
    "slabs": slabs.CONTRACTIONS,
}
