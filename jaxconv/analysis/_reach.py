"""Which inputs an output of any JAX function can depend on, read from its operations.

The function is traced once, and each operation is replaced by a sum of all the elements that its
result can depend on: a product, a maximum and a `where` become sums of their operands, a
convolution gets a kernel of ones, slices and reshapes stay. The new function is linear in x, and an
input reaches an output where its transpose is not zero: one reverse pass, independent of the values
of x and of the kernels, and of which ReLUs are active.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxconv._core.dispatch.primitive import contract, conv_p
from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.programs import compiled_once

# An array of the traced function: (sums in float32, None) if it depends on x, else (None, value).
Node = tuple[jax.Array | None, Any]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Every element of the result depends on the elements at the same position.
_ELEMENTWISE = _names(
    """abs acos acosh add and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp
    complex conj convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2
    expm1 floor ge gt imag integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg
    nextafter not or population_count pow real reduce_precision rem round rsqrt select_n shift_left
    shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh
    xor"""
)
# Operations that only move elements, with the number of operands that hold elements (None: all);
# the other operands are indices.
_MOVES = {
    "broadcast_in_dim": 1,
    "concatenate": None,
    "dynamic_slice": 1,
    "dynamic_update_slice": 2,
    "expand_dims": 1,
    "gather": 1,
    "pad": 2,
    "reshape": 1,
    "rev": 1,
    "slice": 1,
    "split": 1,
    "squeeze": 1,
    "stack": None,
    "transpose": 1,
}
_REDUCTIONS = _names(
    "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum"
)
_WINDOWS = _names("reduce_window_max reduce_window_min reduce_window_sum")
_CUMULATIVE = _names("cumlogsumexp cummax cummin cumprod cumsum")
_SCATTERS = _names("scatter-add scatter-max scatter-min scatter-mul")
_CALLS = _names(
    "checkpoint closed_call core_call custom_jvp_call custom_vjp_call jit pjit remat remat2"
)


def reach(f: Callable[[jax.Array], jax.Array], x: jax.Array | np.ndarray, index: Any) -> jax.Array:
    """Find the inputs that an output of a function can depend on, for any values.

    reached[j] = there is a path of operations from x[j] to f(x)[index]

    An input that is not reached cannot change the output. One that is reached may still have no
    effect: zero kernel entries, masks, inactive ReLUs and branches not taken count as connections.
    Arithmetic, comparisons, reductions, windows, reshapes, slices, indexing that does not depend on
    x, matrix products, convolutions and function calls are followed element by element. For every
    other operation (a loop, an FFT, indexing that depends on x) each output is taken to depend on
    all inputs.

    Args:
        f: any function of an array that JAX can trace, such as a Flax model with its parameters
            bound; its branches and shapes must not depend on values.
        x: an array, as f takes it: with batch axis and channels if f needs them. Only its shape and
            dtype matter.
        index: the output, as in `f(x)[index]`; if it selects several, the inputs of any of them.

    Returns:
        reached: boolean, x's shape; `reached.any(-1)` joins the channels.

    Raises:
        ValueError: `index` is not an index of f(x).

    Example:
        An inactive ReLU has no gradient, but the connection exists.

        >>> f = lambda x: jax.nn.relu(x[1:] - x[:-1] - 100)
        >>> reach(f, jnp.zeros(6), 2)
        Array([False, False,  True,  True, False, False], dtype=bool)

    Source:
        Griewank and Walther (2008), "Evaluating Derivatives", section 7.1 (sparsity patterns).
    """
    x = as_array("reach", "x", x)
    closed, result = jax.make_jaxpr(f, return_shape=True)(x)
    check_index("reach", index, result.shape)
    shape = x.shape  # a traced x must not be captured by the compiled program

    def connected(consts):
        def sums(s):
            (node,) = _follow(closed.jaxpr, consts, [(s, None)])
            return _sums(node, result.shape)

        _, pull = jax.vjp(sums, jnp.zeros(shape, jnp.float32))
        (paths,) = pull(jnp.zeros(result.shape, jnp.float32).at[index].set(1))
        return paths != 0

    return compiled_once(connected, closed.consts)


def check_index(caller: str, index: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of f(x)[index]; jax.numpy would clip an index out of range silently."""
    try:
        return np.broadcast_to(np.False_, shape)[index].shape
    except IndexError:
        raise ValueError(
            f"{caller}: index={index} does not lie in f(x), whose shape is {shape}"
        ) from None


def _follow(jaxpr: Jaxpr, consts: Sequence[Any], operands: Sequence[Node]) -> list[Node]:
    """Evaluate a jaxpr on sums, and on values where they do not depend on x."""
    known: dict[Any, Node] = dict(zip(jaxpr.invars, operands, strict=True))
    known.update((variable, (None, c)) for variable, c in zip(jaxpr.constvars, consts, strict=True))

    def read(atom) -> Node:
        return (None, atom.val) if isinstance(atom, Literal) else known[atom]

    for equation in jaxpr.eqns:
        nodes = [read(atom) for atom in equation.invars]
        if all(s is None for s, _ in nodes):
            results = [(None, value) for value in _evaluate(equation, [v for _, v in nodes])]
        else:
            results = [
                (None if s is None else _clip_path_counts(s), value)
                for s, value in _rule(equation, nodes)
            ]
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


@jax.custom_vjp
def _clip_path_counts(s: jax.Array) -> jax.Array:
    """Return s; its cotangent is 1 for any number of paths, so that counts cannot overflow."""
    return s


_clip_path_counts.defvjp(lambda s: (s, None), lambda _, paths: ((paths != 0).astype(paths.dtype),))


def _evaluate(equation, values: Sequence[Any]) -> list[Any]:
    parameters = equation.primitive.get_bind_params(equation.params)
    result = equation.primitive.bind(*values, **parameters)
    return list(result) if equation.primitive.multiple_results else [result]


def _rule(equation, nodes: list[Node]) -> list[Node]:
    """The results of an operation with at least one operand that depends on x."""
    name, parameters = equation.primitive.name, equation.params
    inputs = [atom.aval.shape for atom in equation.invars]
    outputs = [variable.aval.shape for variable in equation.outvars]
    if name in _ELEMENTWISE:
        # an operand has the result's shape or is a scalar
        terms = [jnp.broadcast_to(s, outputs[0]) for s, _ in nodes if s is not None]
        return [(sum(terms[1:], terms[0]), None)]
    if name == "optimization_barrier":
        return nodes
    if name in _CALLS:
        inner = next(parameters[key] for key in ("jaxpr", "call_jaxpr") if key in parameters)
        return _call(inner, nodes)
    if name == "cond":
        branches = [_call(branch, nodes[1:]) for branch in parameters["branches"]]
        joint = [
            sum((_sums(node, shape) for node in alternatives), _all_to_all(nodes[:1], shape))
            for alternatives, shape in zip(zip(*branches, strict=True), outputs, strict=True)
        ]
        return [(s, None) for s in joint]
    count = _MOVES.get(name, 0)
    count = len(nodes) if count is None else count
    if count and all(s is None for s, _ in nodes[count:]):
        arrays = [_sums(node, shape) for node, shape in zip(nodes[:count], inputs, strict=False)]
        values = [v for _, v in nodes[count:]]
        return [(s, None) for s in _evaluate(equation, [*arrays, *values])]
    if name == "scatter" and nodes[1][0] is None:
        operand, updates = _sums(nodes[0], inputs[0]), _sums(nodes[2], inputs[2])
        return [(s, None) for s in _evaluate(equation, [operand, nodes[1][1], updates])]
    s = _summed(name, parameters, nodes, inputs)
    if s is not None:
        return [(s, None)]
    if name in _SCATTERS and nodes[1][0] is None:
        operand, updates = _sums(nodes[0], inputs[0]), _sums(nodes[2], inputs[2])
        numbers, mode = parameters["dimension_numbers"], parameters["mode"]
        return [(lax.scatter_add(operand, nodes[1][1], updates, numbers, mode=mode), None)]
    if name == "sort":
        sums = [_sums(node, shape) for node, shape in zip(nodes, inputs, strict=True)]
        along = sum(sums[1:], sums[0]).sum(parameters["dimension"], keepdims=True)
        return [(jnp.broadcast_to(along, shape), None) for shape in outputs]
    return [(_all_to_all(nodes, shape), None) for shape in outputs]


def _summed(name: str, parameters: dict, nodes: list[Node], inputs: list) -> jax.Array | None:
    """Sums in the place of reductions, windows and products; None for other operations."""
    if name in _REDUCTIONS:
        return _sums(nodes[0], inputs[0]).sum(tuple(parameters["axes"]))
    if name in _CUMULATIVE:
        s = _sums(nodes[0], inputs[0])
        return lax.cumsum(s, parameters["axis"], reverse=parameters["reverse"])
    if name in _WINDOWS:
        return lax.reduce_window(_sums(nodes[0], inputs[0]), np.float32(0), lax.add, **parameters)
    if name not in _PRODUCTS:
        return None
    # one factor is replaced by ones in each term, so that the result is linear in the sums
    ones = [jnp.ones(shape, jnp.float32) for shape in inputs]
    pairs = [(nodes[0][0], ones[1]), (ones[0], nodes[1][0])]
    terms = [_PRODUCTS[name](a, b, parameters) for a, b in pairs if a is not None and b is not None]
    return sum(terms[1:], terms[0])


def _product(primitive):
    """The product of two float32 arrays by a primitive of lax."""

    def product(a, b, parameters):
        plain = {"precision": None, "preferred_element_type": np.dtype("float32")}
        return primitive.bind(a, b, **{**parameters, **plain})

    return product


def _contract(a, b, parameters):
    contraction, spec = parameters["contraction"], parameters["spec"]
    return contract(contraction, a, b, spec, dtype=jnp.float32, method="lax")


_PRODUCTS = {
    "dot_general": _product(lax.dot_general_p),
    "conv_general_dilated": _product(lax.conv_general_dilated_p),
    conv_p.name: _contract,
}


def _call(inner: ClosedJaxpr | Jaxpr, nodes: list[Node]) -> list[Node]:
    if isinstance(inner, ClosedJaxpr):
        return _follow(inner.jaxpr, inner.consts, nodes)
    return _follow(inner, [], nodes)


def _sums(node: Node, shape: tuple[int, ...]) -> jax.Array:
    return jnp.zeros(shape, jnp.float32) if node[0] is None else node[0]


def _all_to_all(nodes: Sequence[Node], shape: tuple[int, ...]) -> jax.Array:
    """Every element depends on all elements of all nodes."""
    terms = [s.sum() for s, _ in nodes if s is not None]
    total = sum(terms[1:], terms[0]) if terms else jnp.zeros((), jnp.float32)
    return jnp.broadcast_to(_clip_path_counts(total), shape)
