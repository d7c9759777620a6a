"""Undo a known blur, or one that is not known: the next step after a kernel is learned.

The model of all: y is what was seen, `y = correlate(x, k) + noise`, with a kernel k as
`jaxconv.learn` finds it (`flip=True`: the convolution with k), arrays of any rank without channels
(`jax.vmap` for several), float32 or float64.

| | noise | way |
|---|---|---|
| `wiener` | the same everywhere | one step, by spectra |
| `tikhonov` | the same everywhere | least squares by conjugate gradients, any boundary |
| `richardson_lucy` | that of counts | images stay positive; total variation as an option |
| `descend` | any loss | gradient descent by optax, any penalty (`restore.penalties`) |
| `blind` | that of counts | image and kernel in turn |

By default what lies beyond the image's ends is unknown, as in a photograph of a larger scene: the
iterative ones find half a kernel more on each side, so that it need not be guessed, and cut it off.
`restore_tiled` does it for images larger than memory.
`noise_level` and `estimate_balance` say how much must be smoothed. All are pure functions that work
under `jit`, `vmap` and `grad`. One NaN in y spreads over the whole result: fill it before.
"""

from jaxconv.restore import penalties
from jaxconv.restore._balance import estimate_balance, noise_level
from jaxconv.restore._blind import BlindlyRestored, blind
from jaxconv.restore._descent import Descended, descend
from jaxconv.restore._richardson_lucy import Deconvolved, richardson_lucy
from jaxconv.restore._tikhonov import Restored, tikhonov
from jaxconv.restore._tiled import restore_tiled
from jaxconv.restore._wiener import wiener

__all__ = [
    "BlindlyRestored",
    "Deconvolved",
    "Descended",
    "Restored",
    "blind",
    "descend",
    "estimate_balance",
    "noise_level",
    "penalties",
    "restore_tiled",
    "richardson_lucy",
    "tikhonov",
    "wiener",
]
