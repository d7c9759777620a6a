#!/usr/bin/env bash
# openvino 2026.4.1 beside onnxruntime 1.32.0 and onnx 1.23.2, on CPUs.
#
# Expected: ConvTranspose of ONNX with output_shape pads as the operator's definition says: what is
# too much is cut in halves, and an odd row goes to the end for SAME_UPPER, else to the start.
# onnxruntime does.
# Seen: OpenVINO cuts nothing at the start where group is above 1, so that the image is shifted by
# all of the padding there (a depthwise 4x4 upsampling by 2, say, by one pixel); with one group an
# odd row goes to the start for SAME_UPPER too. The shape is right, and no error is raised. The same
# node with pads in place of output_shape is right.
#   start: one group NOTSET right, SAME_LOWER right, SAME_UPPER 2 for 1; two groups 0 for 1 or 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/bin/python" - <<'EOF'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import helper, numpy_helper

draw = np.random.default_rng(0)
x = draw.normal(size=(1, 2, 4, 5)).astype(np.float32)


def run(w, size, **attributes):
    """The node's result in onnxruntime and in OpenVINO."""
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    given = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)]
    result = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 2, *size))]
    graph = helper.make_graph([node], "g", given, result, [numpy_helper.from_array(w, "w")])
    opset = [helper.make_opsetid("", 22)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    bytes_ = model.SerializeToString()
    session = onnxruntime.InferenceSession(bytes_, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(bytes_), "CPU", exact)
    return session.run(None, {"x": x})[0], compiled(x)[0]


def spread(w, stride, group, start, size):
    """Every x times the kernel, added up from `start` on: the definition."""
    room = 40
    whole = np.zeros((1, 2, room, room))
    for channel, out in ((0, 0), (0, 1), (1, 0), (1, 1)):
        if group == 2 and channel != out:
            continue
        kernel = w[channel, out if group == 1 else 0]
        for i in range(4):
            for j in range(5):
                box = np.s_[0, out, i * stride : i * stride + 4, j * stride : j * stride + 4]
                whole[box] += x[0, channel, i, j] * kernel
    return whole[:, :, start : start + size[0], start : start + size[1]]


seen = {}
for group in (1, 2):
    w = draw.normal(size=(2, 2 // group, 4, 4)).astype(np.float32)
    for stride, size in ((1, (4, 5)), (2, (8, 10)), (2, (7, 9))):
        total = stride * 3 + 4 - size[0]
        common = dict(strides=[stride] * 2, group=group)
        for auto_pad in ("NOTSET", "SAME_LOWER", "SAME_UPPER"):
            half = total // 2
            start = half if auto_pad == "SAME_UPPER" else total - half
            right = spread(w, stride, group, start, size)
            ort, ov = run(w, size, auto_pad=auto_pad, output_shape=size, **common)
            assert ort.shape == ov.shape == right.shape
            assert np.allclose(ort, right, atol=1e-5)
            tried = [spread(w, stride, group, s, size) for s in range(6)]
            (found,) = [s for s in range(6) if np.allclose(ov, tried[s], atol=1e-5)]
            seen.setdefault((group, auto_pad), []).append((start, found))
        pads = [total - total // 2] * 2 + [total // 2] * 2
        right = spread(w, stride, group, pads[0], size)
        assert all(np.allclose(y, right, atol=1e-5) for y in run(w, size, pads=pads, **common))
for (group, auto_pad), starts in seen.items():
    print(f"group {group} {auto_pad}: start", ", ".join(f"{b} for {a}" for a, b in starts))
assert seen[1, "NOTSET"] == seen[1, "SAME_LOWER"] == [(2, 2), (1, 1), (2, 2)]
assert seen[1, "SAME_UPPER"] == [(1, 2), (1, 1), (1, 2)]
assert all(b == 0 < a for name in ("NOTSET", "SAME_LOWER", "SAME_UPPER") for a, b in seen[2, name])
EOF
