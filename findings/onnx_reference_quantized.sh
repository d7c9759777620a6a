#!/usr/bin/env bash
# onnx 1.23.2 beside onnxruntime 1.32.0.
#
# Expected: onnx.reference.ReferenceEvaluator, the standard's own reading of its operators, and a
# runtime agree on QLinearConv in every value: results are whole numbers.
# Seen: the reference adds the zero point of the result before it rounds, where QuantizeLinear's text
# rounds first. Both round half to even, so that with an odd zero point all halves go the other way:
# four of eight values differ by one, with an even one none does. With a scale for each output channel
# a convolution of one dimension has a result of four (three by the model's own inference): scales and
# channels are laid against each other as if there were two dimensions, so that each scale
# multiplies every channel. onnxruntime is right each time. ConvInteger with a zero point for each
# output channel, which the standard has, the reference computes in two dimensions alone, onnxruntime
# in none: both raise.
#   zero point 1: 1 2 2 2 3 4 4 4 and 1 1 2 3 3 3 4 5; one dimension: (1, 2, 2, 8) and (1, 2, 8)
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

settings = onnxruntime.SessionOptions()
settings.log_severity_level = 4
x = np.arange(8, dtype=np.uint8).reshape(1, 1, 8)


def run(op, **arrays):
    """The shape that onnx infers, then the results of its reference and of onnxruntime."""
    arrays = {"x": x} | {name: np.asarray(value) for name, value in arrays.items()}
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in arrays.items()
    ]
    node = helper.make_node(op, list(arrays), ["y"])
    graph = helper.make_graph([node], "g", given, [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    inferred = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    results = []
    for evaluate in (ReferenceEvaluator(model).run, session.run):
        try:
            results.append(evaluate(None, arrays)[0])
        except Exception as error:
            results.append(error)
    return tuple(inferred), *results


def quantized(w, w_scale, w_zero, y_zero, x_scale=1.0):
    return run(
        "QLinearConv",
        x_scale=np.float32(x_scale),
        x_zero=np.uint8(0),
        w=w,
        w_scale=np.float32(w_scale),
        w_zero=w_zero,
        y_scale=np.float32(1),
        y_zero=np.uint8(y_zero),
    )


one, two = np.ones((1, 1, 1), np.int8), np.ones((2, 1, 1), np.int8)
for zero in range(4):
    _, reference, right = quantized(one, 1.0, np.int8(0), zero, x_scale=0.5)
    assert np.array_equal(right[0, 0], np.round(x[0, 0] / 2) + zero)
    assert np.array_equal(reference[0, 0], np.round(x[0, 0] / 2 + zero))
    assert (reference != right).sum() == (4 if zero % 2 else 0)
    if zero == 1:
        print("zero point 1:", *reference.ravel(), "and", *right.ravel(), end="; ")

inferred, reference, right = quantized(two, [1.0, 2.0], np.zeros(2, np.int8), 0)
print(f"one dimension: {reference.shape} and {right.shape}")
assert inferred == right.shape == (1, 2, 8) and reference.shape == (1, 2, 2, 8)
assert np.array_equal(right[0], [x[0, 0], 2 * x[0, 0]])
assert np.array_equal(reference[0], [[x[0, 0]] * 2, [2 * x[0, 0]] * 2])

zeros = np.array([0, 1], np.uint8)
rest = {"x_zero": np.uint8(0), "w_zero": zeros}
_, reference, runtime = run("ConvInteger", w=two.astype(np.uint8), **rest)
assert isinstance(reference, ValueError) and "tensor quantization is not supp" in str(runtime)
plane = {"x": x.reshape(1, 1, 2, 4), "w": np.ones((2, 1, 1, 1), np.uint8)}
_, reference, runtime = run("ConvInteger", **plane, **rest)
assert np.array_equal(reference[0], [plane["x"][0, 0], 0 * plane["x"][0, 0]])
assert "tensor quantization is not supp" in str(runtime)
EOF
