#!/usr/bin/env bash
# onnx 1.23.2 beside onnxruntime 1.32.0.
#
# Expected: onnx.reference.ReferenceEvaluator, the standard's own reading of its operators, pads as
# the standard writes it: pads = all starts, then all ends. In Conv and AveragePool it does.
# Seen: in MaxPool at stride 1 it reads start, end, start, end: pads of one row above and two columns
# before, (1, 2, 0, 1), become three rows and one column, so that even the shape is another than the
# model's own shape inference says. With auto_pad SAME_LOWER and stride 2 it pads too little, here
# (0, 1, 0, 1) for (1, 1, 1, 1); SAME_UPPER is right, and so are pads at stride 2. onnxruntime is
# right each time.
#   pads 1 2 0 1: (8, 10) by the formula, (10, 8) by the reference; SAME_LOWER: (5, 5) and (4, 5)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/bin/python" - <<'EOF'
import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx.reference import ReferenceEvaluator

x = np.random.default_rng(0).normal(size=(1, 1, 9, 10)).astype(np.float32)
window = (3, 4)


def run(op, **attributes):
    """The shape that onnx infers, then the results of its reference and of onnxruntime."""
    node = helper.make_node(op, ["x"], ["y"], kernel_shape=window, **attributes)
    given = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)]
    graph = helper.make_graph([node], "g", given, [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    inferred = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=providers)
    (reference,) = ReferenceEvaluator(model).run(None, {"x": x})
    return tuple(inferred[2:]), reference[0, 0], session.run(None, {"x": x})[0][0, 0]


def largest(pads, stride):
    """The definition, with pads as all starts, then all ends."""
    size = [(9, 10)[d] + pads[d] + pads[2 + d] for d in (0, 1)]
    wide = np.full(size, -np.inf)
    wide[pads[0] : pads[0] + 9, pads[1] : pads[1] + 10] = x[0, 0]
    result = np.zeros([(size[d] - window[d]) // stride + 1 for d in (0, 1)], np.float32)
    for i, j in np.ndindex(*result.shape):
        top, left = i * stride, j * stride
        result[i, j] = wide[top : top + window[0], left : left + window[1]].max()
    return result


for pads in ((1, 1, 1, 1), (0, 0, 0, 0)):
    _, reference, ort = run("MaxPool", pads=pads)
    assert np.array_equal(reference, largest(pads, 1)) and np.array_equal(ort, reference)

pads = (1, 2, 0, 1)
inferred, reference, ort = run("MaxPool", pads=pads)
right = largest(pads, 1)
print(f"pads 1 2 0 1: {right.shape} by the formula, {reference.shape} by the reference", end="; ")
assert right.shape == inferred == (8, 10) and np.array_equal(ort, right)
assert np.array_equal(reference, largest((1, 0, 2, 1), 1)) and reference.shape == (10, 8)
_, reference, ort = run("AveragePool", pads=pads)
assert np.allclose(reference, ort, atol=1e-6)
inferred, reference, ort = run("MaxPool", pads=pads, strides=(2, 2))
assert np.array_equal(reference, largest(pads, 2)) and np.array_equal(reference, ort)

inferred, reference, ort = run("MaxPool", auto_pad="SAME_LOWER", strides=(2, 2))
print(f"SAME_LOWER: {ort.shape} and {reference.shape}")
assert inferred == (5, 5) and np.array_equal(ort, largest((1, 1, 1, 1), 2))
assert reference.shape == (4, 5) and np.array_equal(reference, largest((0, 1, 0, 1), 2))
_, reference, ort = run("MaxPool", auto_pad="SAME_UPPER", strides=(2, 2))
assert np.array_equal(ort, largest((1, 1, 1, 1), 2)) and np.array_equal(reference, ort)
EOF
