"""Ways to compute a convolution, one file a method and one line in the table `METHODS`.

`method.Method` is the record with which each file ends: the contractions it computes, what it
refuses, what its time grows with. Once it is in the table, `auto`, `jaxconv.explain`,
`jaxconv.tune`, `jaxconv info` and the tests of `tests/cases.py` know it.
"""

from jaxconv._core.methods import (
    columns,
    covered,
    fft,
    floats,
    integers,
    lax,
    loops,
    onednn,
    pallas,
    phases,
    products,
    shifts,
    slabs,
    taps,
    widened,
)
from jaxconv._core.methods.method import Method

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        lax.METHOD,
        loops.METHOD,
        onednn.METHOD,
        taps.METHOD,
        fft.METHOD,
        columns.METHOD,
        covered.METHOD,
        floats.METHOD,
        integers.METHOD,
        pallas.METHOD,
        phases.METHOD,
        products.METHOD,
        shifts.METHOD,
        slabs.METHOD,
        widened.METHOD,
    )
}
