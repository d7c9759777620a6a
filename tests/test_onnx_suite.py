"""ONNX's own cases of its convolutions, by `jaxconv.compat.torch` and `jaxconv.compat.onnx`.

ONNX ships 20 of them as node tests, 28 converted from PyTorch's suite and 2 of PyTorch's operators.
Its reference evaluator walks the graphs; these four operators are replaced by ours.
"""

import importlib
import pkgutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.backend.test.case import node as node_cases
from onnx.backend.test.loader import load_model_tests
from onnx.numpy_helper import to_array
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import jaxconv.compat.torch as F  # noqa: N812
from jaxconv import conv_transpose
from jaxconv._core.geometry import shapes
from jaxconv.compat import onnx as onnx_face

OPERATORS = ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv")


def resolve(x, w, arguments):
    """ONNX's attributes with their defaults, one entry per dimension; `pads` as pairs or None."""
    rank = w.ndim - 2
    given = {name: value for name, value in arguments.items() if value is not None}
    assert tuple(given.get("kernel_shape", w.shape[2:])) == w.shape[2:]
    one = (1,) * rank
    pads = given.get("pads")
    return {
        "size": x.shape[2:],
        "kernel": w.shape[2:],
        "stride": tuple(given.get("strides", one)),
        "dilation": tuple(given.get("dilations", one)),
        "groups": given.get("group", 1),
        "pads": None if pads is None else list(zip(pads[:rank], pads[rank:], strict=True)),
        "auto_pad": given.get("auto_pad", "NOTSET"),
    }


def conv_pads(a):
    if not a["auto_pad"].startswith("SAME"):  # NOTSET or VALID
        return a["pads"] or [(0, 0)] * len(a["kernel"])
    each = zip(a["size"], a["kernel"], a["stride"], a["dilation"], strict=True)
    lower = a["auto_pad"] == "SAME_LOWER"
    return [shapes.same_padding(*sizes, lower=lower) for sizes in each]


def convolved(x, w, b, arguments):
    a = resolve(x, w, arguments)
    reversed_pads = [end for pair in reversed(conv_pads(a)) for end in pair]
    function = getattr(F, f"conv{len(a['kernel'])}d")
    return function(F.pad(x, reversed_pads), w, b, a["stride"], 0, a["dilation"], a["groups"])


def transposed_pads(a, extra, output_shape):
    """The operator's rule for the padding that gives a requested output size."""
    if a["auto_pad"].startswith("SAME"):
        output_shape = [n * s for n, s in zip(a["size"], a["stride"], strict=True)]
    if output_shape is None:
        return a["pads"] or [(0, 0)] * len(a["kernel"])
    pads = []
    each = zip(a["size"], a["kernel"], a["stride"], a["dilation"], extra, output_shape, strict=True)
    for n, k, s, d, op, wanted in each:
        total = s * (n - 1) + op + shapes.extent(k, d) - wanted
        half = total // 2
        upper = a["auto_pad"] == "SAME_UPPER"
        pads.append((half, total - half) if upper else (total - half, half))
    return pads


def transposed(x, w, b, output_padding, output_shape, arguments):
    a = resolve(x, w, arguments)
    rank = len(a["kernel"])
    extra = tuple(output_padding or (0,) * rank)
    pads = transposed_pads(a, extra, output_shape)
    common = {name: a[name] for name in ("stride", "dilation", "groups")}
    if all(lo == hi >= 0 for lo, hi in pads):
        function = getattr(F, f"conv_transpose{rank}d")
        padding = tuple(lo for lo, _ in pads)
        return function(x, w, b, padding=padding, output_padding=extra, **common)
    # torch has no uneven padding: use jaxconv.conv, channels last
    pads = [(lo, hi - op) for (lo, hi), op in zip(pads, extra, strict=True)]
    w = np.moveaxis(w, (0, 1), (-1, -2))
    y = conv_transpose(np.moveaxis(x, 1, -1), w, b, padding=pads, **common)
    return np.moveaxis(y, -1, 1)


class Conv(OpRun):
    op_domain = ""

    def _run(self, x, w, b=None, **arguments):
        return (np.asarray(convolved(x, w, b, arguments)),)


class ConvTranspose(OpRun):
    op_domain = ""

    def _run(self, x, w, b=None, output_padding=None, output_shape=None, **arguments):
        return (np.asarray(transposed(x, w, b, output_padding, output_shape, arguments)),)


class ConvInteger(OpRun):
    op_domain = ""

    def _run(self, *arrays, **attributes):
        return (np.asarray(onnx_face.ConvInteger(*arrays, **_given(attributes))),)


class QLinearConv(OpRun):
    op_domain = ""

    def _run(self, *arrays, **attributes):
        return (np.asarray(onnx_face.QLinearConv(*arrays, **_given(attributes))),)


def _given(attributes):
    return {name: value for name, value in attributes.items() if value is not None}


def _tensor(path):
    return to_array(onnx.TensorProto.FromString(path.read_bytes()))


def _stored(case):
    """Model, inputs and outputs of a case on disk."""
    folder = Path(case.model_dir)
    data = folder / "test_data_set_0"
    sides = [
        [_tensor(data / f"{side}_{i}.pb") for i in range(len(list(data.glob(f"{side}_*.pb"))))]
        for side in ("input", "output")
    ]
    return (onnx.load(folder / "model.onnx"), *sides)


def _cases():
    """Name -> model, inputs, outputs of the graphs that are one of the three operators."""
    found = {}
    # all modules of cases would be computed while tests are collected, for seconds
    with warnings.catch_warnings(action="ignore"):
        for module in pkgutil.iter_modules(node_cases.__path__):
            if "conv" in module.name:
                importlib.import_module(f"{node_cases.__name__}.{module.name}")
    for case in node_cases._NodeTestCases:
        (inputs, outputs), *_ = case.data_sets
        found[f"node {case.name}"] = (case.model, inputs, outputs)
    for kind in ("pytorch-converted", "pytorch-operator"):
        for case in sorted(load_model_tests(kind=kind), key=lambda case: case.name):
            found[f"{kind} {case.name}"] = _stored(case)
    return {
        name: case
        for name, case in found.items()
        if any(node.op_type in OPERATORS for node in case[0].graph.node)
    }


EVERY = _cases()
CASES = {name: case for name, case in EVERY.items() if len(case[0].graph.node) == 1}
# causal convolution with a state, expanded to a dozen operators around one Conv
GRAPHS = {name: case for name, case in EVERY.items() if name not in CASES}


def assert_gives_its_outputs(case, operators):
    model, inputs, outputs = case
    stored = {tensor.name for tensor in model.graph.initializer}  # old models list these as inputs
    names = [value.name for value in model.graph.input if value.name not in stored]
    evaluator = ReferenceEvaluator(model, new_ops=operators)
    results = evaluator.run(None, dict(zip(names, inputs, strict=True)))
    assert len(results) == len(outputs)
    for actual, expected in zip(results, outputs, strict=True):
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        # ONNX's own tolerance is rtol=1e-3; half precision is compared with that
        exact = 1e-3 if expected.dtype == np.float16 else 1e-5
        np.testing.assert_allclose(actual, expected, rtol=exact, atol=exact)


def test_there_are_50_cases():
    kinds = [name.split()[0] for name in CASES]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    assert counts == {"node": 20, "pytorch-converted": 28, "pytorch-operator": 2}
    assert len(CASES) == 50
    assert len(GRAPHS) == 13


def sort(name):
    """Where it is from, and which operators it has."""
    return {name.split()[0], *(node.op_type for node in EVERY[name][0].graph.node)}


@pytest.mark.cover(name=sort)
@pytest.mark.parametrize("name", EVERY)
def test_case(name):
    assert_gives_its_outputs(EVERY[name], [Conv, ConvTranspose, ConvInteger, QLinearConv])


def test_a_wrong_operator_is_found():
    class Conv(OpRun):
        op_domain = ""

        def _run(self, x, w, b=None, **arguments):
            return (np.asarray(convolved(x, w[..., ::-1], b, arguments)),)

    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_gives_its_outputs(CASES["pytorch-converted test_Conv2d"], [Conv])
