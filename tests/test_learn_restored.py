"""Checkpoints of a run on one number of devices go on on another; the same bits on the same."""

import dataclasses
import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from sharded_cases import P

from jaxconv.learn import Checkpoints, fit_conv, fit_kernel
from jaxconv.learn._checkpoints import kept_steps
from jaxconv.learn._segments import program_digest, run_segments

X = np.random.default_rng(0).normal(size=(16, 9)).astype("float32")
Y = X[:-1, :-1] - X[1:, 1:]
START = np.zeros((2, 2), "float32")
ADAM = optax.adam(0.1)


def mesh_of(count):
    devices = np.array(jax.devices()[:count])
    return jax.sharding.Mesh(devices, ("rows",), axis_types=(AxisType.Auto,))


def rows(array, count):
    """The array in parts on so many devices; on one, as it comes."""
    if count == 1:
        return array
    return jax.device_put(array, NamedSharding(mesh_of(count), P("rows")))


def layer(x, y, **how):
    """As `fit_kernel`, of the same planes with a channel."""
    fit = fit_conv(x[..., None], y[..., None], (2, 2), init=START[..., None, None], **how)
    return dataclasses.replace(fit, kernel=fit.kernel[..., 0, 0])


@pytest.mark.parametrize(
    ("learn", "first", "then"),
    [(fit_kernel, 8, 4), pytest.param(fit_kernel, 1, 2, marks=pytest.mark.thorough), (layer, 8, 1)],
)
def test_a_fit_goes_on_on_another_number_of_devices(tmp_path, learn, first, then):
    fit = functools.partial(learn, optimizer=ADAM)
    if learn is fit_kernel:
        fit = functools.partial(fit, kernel_size=2, init=START)
    kept = Checkpoints(directory=tmp_path, every=2, resume=True)
    begun = fit(rows(X, first), Y, steps=2, checkpoints=kept)
    seen = []
    ended = fit(
        rows(X, then), Y, steps=4, checkpoints=kept, on_losses=lambda *part: seen.append(part)
    )
    assert len(ended.kernel.sharding.device_set) == then
    np.testing.assert_array_equal(seen[0][1], begun.losses)  # what is read is what was written
    whole = fit(X, Y, steps=4)
    np.testing.assert_allclose(ended.kernel, whole.kernel, rtol=0, atol=2e-6)
    np.testing.assert_allclose(ended.losses, whole.losses, rtol=2e-6)
    with pytest.raises(ValueError, match="holds a run with optimizer or loss"):
        fit(rows(X, first), Y, steps=6, checkpoints=kept, optimizer=optax.adam(0.2))


def test_the_same_bits_on_as_many_devices(tmp_path):
    """A checkpoint that was being written when its run was killed is not one."""
    fit = functools.partial(fit_kernel, rows(X, 8), Y, 2, optimizer=ADAM)
    for steps in (1, 3):
        kept = Checkpoints(directory=tmp_path / "cut", every=1, resume=True)
        cut = fit(steps=steps, checkpoints=kept)
        torn = tmp_path / "cut" / "2.orbax-checkpoint-tmp" / "default"
        torn.mkdir(parents=True)
        (torn / "manifest.ocdbt").write_bytes(b"half")
        assert kept_steps(tmp_path / "cut")[-1] == steps
    chex.assert_trees_all_equal(
        cut, fit(steps=3, checkpoints=Checkpoints(directory=tmp_path / "whole"))
    )


def walk(state, scale):
    """One step of a state in parts: moments of a dense layer's size, and a key."""
    key, sub = jax.random.split(state["key"])
    weight = state["weight"] * 0.5 + scale * jax.random.normal(sub, state["weight"].shape)
    return {"key": key, "weight": weight}, weight.sum()


def begin(count):
    state = {"key": jax.random.key(3), "weight": jnp.arange(64.0).reshape(16, 4)}
    if count == 1:
        return state, jnp.float32(2)
    mesh = mesh_of(count)
    lying = {"key": NamedSharding(mesh, P()), "weight": NamedSharding(mesh, P("rows"))}
    return jax.device_put(state, lying), jax.device_put(jnp.float32(2), lying["key"])


def test_a_state_in_parts_is_written_and_read_in_parts(tmp_path):
    """8, 4, 1 and 8 devices in turn; every weight is the bits it was, where it has to be."""
    program = program_digest(walk, *begin(1))
    for steps, count in enumerate((8, 4, 1, 8), 1):
        kept = Checkpoints(directory=tmp_path, every=1, resume=True)
        state, losses = run_segments(
            walk, *begin(count), steps=steps, checkpoints=kept, program=program
        )
        assert len(state["weight"].sharding.device_set) == count
        assert state["weight"].addressable_shards[0].data.shape == (16 // count, 4)
    # a run that is done is read to where it is asked for, keys too
    done, _ = run_segments(walk, *begin(4), steps=4, checkpoints=kept, program=program)
    assert len(done["key"].sharding.device_set) == len(done["weight"].sharding.device_set) == 4
    whole, right = run_segments(walk, *begin(1), steps=4)
    state, whole = ({**s, "key": jax.random.key_data(s["key"])} for s in (state, whole))
    chex.assert_trees_all_equal(state, whole)  # elementwise steps: no sum is rounded differently
    np.testing.assert_allclose(losses, right, rtol=1e-6)
    # no process has to hold all of it: each part is a piece of its own on disk
    written = json.loads((tmp_path / "4" / "default" / "_METADATA").read_text())["tree_metadata"]
    assert written["('state', '0001')"]["value_metadata"]["write_shape"] == [2, 4]
    assert kept_steps(tmp_path) == [2, 3, 4]


def test_other_programs_are_told_only_by_what_does_not_name_devices(tmp_path):
    """Without `program` a step that names its devices is another on others.

    It leaves the weight whole on each; from step to step it lies as it did at the start.
    """

    def pinned(count):
        whole = NamedSharding(mesh_of(count), P())

        def step(state, scale):
            after, seen = walk(state, scale)
            after["weight"] = jax.lax.with_sharding_constraint(after["weight"], whole)
            return after, seen

        return step

    kept = Checkpoints(directory=tmp_path, resume=True)
    state, _ = run_segments(pinned(8), *begin(8), steps=2, checkpoints=kept)
    assert state["weight"].addressable_shards[0].data.shape == (2, 4)
    with pytest.raises(ValueError, match="holds a run with optimizer or loss"):
        run_segments(pinned(4), *begin(4), steps=3, checkpoints=kept)
