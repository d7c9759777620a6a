"""Constraints on a photograph's kernel: `recover_kernel` and `jaxconv learn --constraint`."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import nnls
from typer.testing import CliRunner

from jaxconv import corr2d, filters
from jaxconv._files import images
from jaxconv.cli.app import app
from jaxconv.cli.constrained import NAMES, projections
from jaxconv.learn import constraints, recover_kernel, solve_kernel

pytestmark = pytest.mark.usefixtures("undrawn")
BLUR = filters.gaussian(0.8, size=5).astype("float32")


@pytest.fixture(scope="module")
def noisy():
    """A photograph in levels of 255 and its blur under noise, in units and an offset of its own."""
    x = 255 * images.sample("camera")[100:160, 200:270].astype("float32")
    y = np.asarray(corr2d(x, BLUR))
    return x, y + 12 + 4 * np.random.default_rng(0).normal(size=y.shape).astype("float32")


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_non_negative_least_squares_of_scipy(noisy, bias):
    x, y = noisy
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(float), (5, 5)).reshape(-1, 25)
    target = y.astype(float).ravel()
    if bias:
        windows, target = windows - windows.mean(0), target - target.mean()
    want, norm = nnls(windows, target)
    assert (want == 0).any()
    fit = recover_kernel(x, y, 5, constraints=[constraints.non_negative], bias=bias, steps=2000)
    assert fit.kernel.min() >= 0
    np.testing.assert_allclose(fit.final_loss, norm**2 / len(target), rtol=1e-4)
    np.testing.assert_allclose(fit.kernel.ravel(), want, atol=2e-2 * want.max())
    assert fit.diverged_at is None


def test_the_kernel_obeys_in_its_own_units_and_comes_closer(noisy):
    x, y = noisy
    found = [recover_kernel(x, 3 * y, 5, constraints=rules, steps=100) for rules in RULES.values()]
    free = np.asarray(solve_kernel(x, 3 * y, 5, bias=True).kernel)
    for fit, (name, rules) in zip(found, RULES.items(), strict=True):
        kernel, breach = np.asarray(fit.kernel), BREACHES[name]
        assert breach(free) > 1e-2
        assert breach(kernel) < 1e-5, name
        for projection in rules:
            np.testing.assert_allclose(projection(fit.kernel), kernel, atol=1e-5)
    symmetric = np.asarray(found[0].kernel)
    assert np.linalg.norm(symmetric - 3 * BLUR) < np.linalg.norm(free - 3 * BLUR)


RULES = {
    "symmetric": (constraints.symmetric,),
    "separable": (constraints.separable(1),),
    "symmetric simplex": (constraints.symmetric, constraints.simplex),
}
BREACHES = {
    "symmetric": lambda k: np.abs(k - k[::-1, ::-1]).max(),
    "separable": lambda k: np.linalg.svd(k, compute_uv=False)[1] / np.linalg.norm(k),
    "symmetric simplex": lambda k: max(-k.min(), abs(k.sum() - 1), np.abs(k - k[::-1]).max()),
}


def test_a_start_and_an_optimizer_of_ones_own(noisy):
    options = {"constraints": [constraints.simplex], "steps": 1}
    x, y = noisy
    still = optax.sgd(0.0)
    fits = [
        recover_kernel(x, y, 5, optimizer=still, key=key, **options)
        for key in (None, jax.random.key(1), jax.random.key(2))
    ]
    least = constraints.simplex(solve_kernel(x, y, 5, bias=True).kernel)
    np.testing.assert_allclose(fits[0].kernel, least, atol=1e-4)
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.kernel.sum(), 1, rtol=1e-5)
        assert jnp.abs(fit.kernel - least).max() > 1e-2


@pytest.mark.parametrize("given", [constraints.simplex, "simplex", None, 3], ids=range(4))
def test_a_projection_alone_is_refused_by_name(noisy, given):
    message = (
        f"recover_kernel: constraints={given!r} must be a list of projections, as in "
        "[constraints.simplex]"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        recover_kernel(*noisy, 5, constraints=given)


def test_a_projection_of_another_shape_is_refused_before_any_step(noisy):
    with pytest.raises(
        ValueError, match=r"^projected: a projection made shape \(5,\) of a kernel "
    ):
        recover_kernel(*noisy, 5, constraints=[lambda kernel: kernel[0]])


# The command


@pytest.fixture
def files(noisy, tmp_path):
    x, y = (array / 255 for array in noisy)
    images.write(tmp_path / "x.tif", x, bits=16)
    images.write(tmp_path / "y.tif", y, bits=16)
    return tmp_path


def _learn(folder, *arguments):
    pair = [folder / "x.tif", folder / "y.tif", "--kernel", 5, "--out", folder / "out"]
    return CliRunner().invoke(app, ["learn", *map(str, [*pair, *arguments])])


@pytest.mark.parametrize(
    ("given", "same"),
    [
        (["non_negative", "sum_to_one"], ["simplex"]),
        (["simplex", "non_negative", "symmetric"], ["symmetric", "simplex"]),
        (["non_negative"], ["non_negative"]),
        (["separable:1", "non_negative"], ["non_negative", "separable"]),
    ],
    ids=" ".join,
)
def test_the_command_keeps_them_all(files, given, same):
    options = [part for name in given for part in ("--constraint", name)]
    done = _learn(files, *options, "--json", "--steps", 30)
    assert (done.exit_code, done.stderr) == (0, "")
    kernel = np.load(files / "out" / "kernel.npy")
    x, y = (images.read(files / name)[0] for name in ("x.tif", "y.tif"))
    rules = [
        constraints.separable(1) if name == "separable" else getattr(constraints, name)
        for name in same
    ]
    fit = recover_kernel(jnp.asarray(x), jnp.asarray(y), 5, constraints=rules, steps=30)
    np.testing.assert_allclose(kernel, fit.kernel, atol=1e-5)
    assert kernel.min() >= 0
    assert json.loads(done.stdout)["steps"] == 30


def test_each_order_is_kept_by_what_follows():
    """Of every combination that is not refused, on a kernel that breaks all of them."""
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5)))
    for chosen in range(1, 2 ** len(NAMES)):
        names = [name for bit, name in enumerate(NAMES) if chosen >> bit & 1]
        if "separable" in names and {"simplex", "sum_to_one"} & set(names):
            continue
        rules, made = projections(names[::-1], (5, 5)), kernel
        for rule in rules:
            made = rule(made)
        for rule in rules:
            np.testing.assert_allclose(rule(made), made, atol=1e-6, err_msg=str(names))
        if {"non_negative", "simplex"} & set(names):
            assert made.min() >= -1e-6


def test_a_run_goes_on_with_its_constraints_alone(files):
    kept = ["--checkpoint", files / "kept", "--resume"]
    rule = ["--constraint", "simplex"]
    whole = _learn(files, *rule, "--steps", 8, "--json")
    assert _learn(files, *rule, *kept, "--steps", 4).exit_code == 0
    again = _learn(files, *rule, *kept, "--steps", 8, "--json")
    assert json.loads(again.stdout)["learned"] == json.loads(whole.stdout)["learned"]
    other = _learn(files, "--constraint", "symmetric", *kept, "--steps", 9)
    assert (other.exit_code, other.stderr) == (
        2,
        f"jaxconv learn: {files}/kept/grey holds a run with --constraint simplex, this one has "
        "symmetric: repeat that one's settings, or name another folder\n",
    )


REFUSALS = {
    "--constraint unit_sum": "no constraint is called 'unit_sum'; known: non_negative, sum_to_one, "
    "simplex, symmetric, separable (or separable:2, of rank 2)",
    "--constraint simplex:2": "no constraint is called 'simplex:2'; known: non_negative, "
    "sum_to_one, simplex, symmetric, separable (or separable:2, of rank 2)",
    "--constraint symmetric --constraint symmetric": "--constraint symmetric is given twice",
    "--constraint separable:5": "--constraint separable:5 is no constraint for a 5x5 kernel; "
    "give a rank below 5",
    "--constraint separable:0": "--constraint separable:0 must have a rank of 1 or more",
    "--constraint separable --constraint simplex": "--constraint separable cannot be combined with "
    "sum_to_one or simplex: no projection satisfies both",
    "--constraint separable:2 --constraint non_negative": "--constraint separable:2 cannot be "
    "combined with non_negative, only separable:1 can",
    "--constraint simplex --optimizer adam": "--constraint has an optimizer of its own; leave "
    "--optimizer out",
    "--constraint simplex --learning-rate 1": "--constraint has an optimizer of its own; leave "
    "--learning-rate out",
}


@pytest.mark.parametrize(("arguments", "message"), REFUSALS.items())
def test_refusals_are_one_line_and_leave_nothing(files, arguments, message):
    done = _learn(files, *arguments.split())
    assert (done.exit_code, done.stderr) == (2, f"jaxconv learn: {message}\n")
    assert not (files / "out").exists()


def test_the_help_names_them():
    shown = re.sub(r"[\s│]+", " ", CliRunner().invoke(app, ["learn", "--help"]).stdout)
    assert all(name in shown for name in NAMES)
