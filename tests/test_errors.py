"""Errors of every public function for wrong arguments: whole messages, before tracing.

A row changes a good call into a bad one; where the message names a call that would work, the row
holds that call too, and it is made.
"""

import contextlib
import functools
import inspect
from typing import Any

import bad_calls_layers  # noqa: F401 (its rows)
import bad_calls_others  # noqa: F401 (its rows)
import bad_calls_pieces  # noqa: F401 (its rows)
import jax
import pytest
from bad_calls import GOOD, ROWS, A, Row

import jaxconv


def traced(function: str, arguments: dict[str, Any]):
    """Return the call as a function of its arrays, and the arrays."""
    arrays = {name: value.make() for name, value in arguments.items() if isinstance(value, A)}
    return lambda arrays: getattr(jaxconv, function)(**(arguments | arrays)), arrays


@contextlib.contextmanager
def assert_raises(error: type[Exception], message: str):
    """Check the exact class and the whole message, without the note that jax adds inside jit."""
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    assert str(caught.value) == message


@pytest.mark.parametrize("case", ROWS, ids=str)
def test_says_what_is_wrong_before_tracing(case):
    call, arrays = traced(case.function, case.arguments)
    for way in (call, jax.jit(call), functools.partial(jax.eval_shape, call)):
        with assert_raises(case.error, case.message):
            way(arrays)

    def refused(arrays):
        with pytest.raises(case.error):
            call(arrays)

    assert not jax.make_jaxpr(refused)(arrays).eqns  # so that nothing was there to compile


@pytest.mark.parametrize("case", [case for case in ROWS if case.remedy], ids=str)
def test_the_call_it_names_works(case):
    changes = {name: value for name, value in case.remedy.items() if not callable(value)}
    call, arrays = traced(case.function, case.arguments | changes)

    def remedied(arrays):
        casts = {name: value for name, value in case.remedy.items() if callable(value)}
        return call(arrays | {name: cast(arrays[name]) for name, cast in casts.items()})

    assert all(0 not in leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(remedied, arrays)))


def test_good_calls_are_good():
    for name, arguments in GOOD.items():
        call, arrays = traced(name, arguments)
        assert jax.tree.leaves(jax.eval_shape(call, arrays))


OWN_FILES = (
    *("pad", "unpad", "explicit_padding", "input_size", "output_size", "receptive_field"),
    *("accelerate", "explain", "tune"),
)


def test_every_argument_of_every_function_is_covered():
    """All functions except those with their own test file."""
    covered = {name: set() for name in GOOD}
    for case in ROWS:
        covered[case.function] |= set(case.change)
    public = {
        name: set(inspect.signature(value).parameters) - {"policy"}
        for name in jaxconv.__all__
        if inspect.isfunction(value := getattr(jaxconv, name)) and name not in OWN_FILES
    }
    assert covered == public


def test_keys_are_no_numbers():
    key = jax.random.key(0)
    with assert_raises(TypeError, "conv: x is key<fry>, which is not a dtype of numbers"):
        jaxconv.conv(key, A((3, 3, 3, 8)).make())
    with assert_raises(TypeError, "unfold: x is key<fry>, which is not a dtype of numbers"):
        jaxconv.unfold(jax.random.split(key, 6).reshape(3, 2), (2,))
    with assert_raises(TypeError, "conv: preferred_element_type=key<fry> is not a dtype"):
        x, w = A((1, 4, 4, 3)).make(), A((3, 3, 3, 8)).make()
        jaxconv.conv(x, w, preferred_element_type=key.dtype)


def test_a_traced_number_is_told_from_a_wrong_one():
    x, w = A((2, 8, 8, 3)).make(), A((3, 3, 3, 8)).make()
    message = (
        "conv: stride must be a fixed integer, but is traced here; under jax.jit name it in "
        "static_argnames"
    )
    with assert_raises(TypeError, message):
        jax.jit(jaxconv.conv)(x, w, stride=2)
    static = jax.jit(jaxconv.conv, static_argnames="stride")
    assert jax.eval_shape(functools.partial(static, stride=2), x, w).shape == (2, 3, 3, 8)


def test_the_check_can_fail():
    """A different message, or no error, fails."""
    good = next(case for case in ROWS if case.change == {"stride": 0})
    with pytest.raises(AssertionError, match="at most 1"):
        test_says_what_is_wrong_before_tracing(
            Row(good.function, good.change, good.message.replace("least", "most"))
        )
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_says_what_is_wrong_before_tracing(Row("conv", {}, "conv: nothing is wrong"))
