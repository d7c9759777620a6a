"""What the restorations say of a bad call: whole messages."""

import numpy as np
import optax
import pytest

from jaxconv import restore
from jaxconv.restore import penalties

pytestmark = pytest.mark.usefixtures("in_float64")

Y, K = np.ones((4, 4)), np.ones((3, 3))
REFUSED = {
    "integers": (
        lambda: restore.wiener(np.ones((4, 4), np.uint8), K),
        TypeError,
        "wiener: y must be float32 or float64, got uint8; call y.astype('float32')",
    ),
    "dtypes": (
        lambda: restore.tikhonov(np.float32(Y), K),
        TypeError,
        "tikhonov: y is float32 and k is float64; call k.astype(y.dtype)",
    ),
    "ranks": (
        lambda: restore.richardson_lucy(np.ones((2, 4, 4)), K),
        ValueError,
        "richardson_lucy: y.shape=(2, 4, 4) and k.shape=(3, 3) differ in rank; for several images "
        "of one blur use jax.vmap",
    ),
    "empty": (
        lambda: restore.noise_level(np.ones((0, 4))),
        ValueError,
        "noise_level: y has no elements, y.shape=(0, 4)",
    ),
    "too few": (
        lambda: restore.noise_level(np.ones((2, 4))),
        ValueError,
        "noise_level: needs 3 elements along each axis, got y.shape=(2, 4)",
    ),
    "a large kernel": (
        lambda: restore.blind(np.ones((4, 2)), K),
        ValueError,
        "blind: k.shape=(3, 3) is larger than y.shape=(4, 2)",
    ),
    "boundary": (
        lambda: restore.tikhonov(Y, K, boundary="mirror"),
        ValueError,
        "tikhonov: boundary='mirror' must be one of 'unknown', 'zeros', 'reflect', 'symmetric', "
        "'replicate', 'circular'; 'mirror' is 'reflect' here",
    ),
    "wiener's boundary": (
        lambda: restore.wiener(Y, K, boundary="zeros"),
        ValueError,
        "wiener: boundary='zeros' must be 'unknown' or 'circular'; restore.tikhonov takes the "
        "others",
    ),
    "both": (
        lambda: restore.tikhonov(Y, K, balance=1.0, noise=1.0),
        ValueError,
        "tikhonov: noise is for the estimate of a balance; give one of the two",
    ),
    "steps": (
        lambda: restore.descend(Y, K, optimizer=optax.sgd(0.1), steps=0),
        ValueError,
        "descend: steps must be an integer of 1 or more, got 0",
    ),
    "order": (
        lambda: restore.wiener(Y, K, order=0),
        ValueError,
        "wiener: order must be an integer of 1 or more, got 0",
    ),
    "start": (
        lambda: restore.richardson_lucy(Y, K, start=np.ones((5, 5))),
        ValueError,
        "richardson_lucy: start.shape=(5, 5) must be y's, (4, 4), or that of a result's state, "
        "(6, 6)",
    ),
    "total variation": (
        lambda: restore.richardson_lucy(Y, K, total_variation=-1.0),
        ValueError,
        "richardson_lucy: total_variation=-1.0 must be 0 or more, and finite",
    ),
    "balance": (
        lambda: restore.wiener(Y, K, balance=-1.0),
        ValueError,
        "wiener: balance=-1.0 must be 0 or more, and finite",
    ),
    "several balances": (
        lambda: restore.tikhonov(Y, K, balance=np.ones(2)),
        ValueError,
        "tikhonov: balance must be one number, got shape (2,); for several use jax.vmap",
    ),
    "restoration": (
        lambda: restore.estimate_balance(Y, K, restoration="lucy"),
        ValueError,
        "estimate_balance: restoration='lucy' must be 'tikhonov' or 'wiener'",
    ),
    "noise known and at least": (
        lambda: restore.estimate_balance(Y, K, noise=0.1, least_noise=0.2),
        ValueError,
        "estimate_balance: least_noise is for a noise that is not known; give one of the two",
    ),
    "no steps": (
        lambda: restore.estimate_balance(Y, K, steps=0),
        ValueError,
        "estimate_balance: steps must be an integer of 1 or more, got 0",
    ),
    "a noise in words": (
        lambda: restore.estimate_balance(Y, K, noise="loud"),
        TypeError,
        "estimate_balance: noise='loud' must be a number",
    ),
    "stop": (
        lambda: restore.richardson_lucy(Y, K, stop=float("nan")),
        ValueError,
        "richardson_lucy: stop=nan must be 0 or more, and finite",
    ),
    "order of differences": (
        lambda: penalties.roughness(Y, order=1.5),
        ValueError,
        "roughness: order must be an integer of 1 or more, got 1.5",
    ),
    "rounds": (
        lambda: restore.blind(Y, K, rounds=0),
        ValueError,
        "blind: rounds must be an integer of 1 or more, got 0",
    ),
    "tile": (
        lambda: restore.restore_tiled(Y, Y, np.abs, tile=(4, 0), margin=1),
        ValueError,
        "restore_tiled: tile=(4, 0) must be an integer of 1 or more, or one for each axis of the "
        "image, (4, 4)",
    ),
    "another shape": (
        lambda: restore.restore_tiled(Y, Y.copy(), lambda window: window[1:], tile=4, margin=1),
        ValueError,
        "restore_tiled: function made (3, 4) of a window of (4, 4); it must keep the shape",
    ),
    "smoothing": (
        lambda: penalties.total_variation(Y, smoothing=0.0),
        ValueError,
        "total_variation: smoothing must be above 0, got 0.0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    call, kind, message = REFUSED[name]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
