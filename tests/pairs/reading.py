"""What lies in exported files, read back."""

import numpy as np
import onnx
import torch

from torchedge import exporting
from torchedge_onnx.graph import constants
from torchedge_onnx.step import MODEL_FILE, TorchToOnnx

WEIGHTED = {"Conv", "Gemm", "MatMul", "ConvTranspose"}


def integer_weights(artifact, folder, target="onnx-cpu"):
    """The int8 weights of the exported Q/DQ file, in the order in which layers run."""
    folder.mkdir()
    step = exporting.target(target).steps[0]
    assert isinstance(step, TorchToOnnx)
    model = onnx.load(step.export(artifact, folder).file(MODEL_FILE))
    values = constants(model)
    made_by = {node.output[0]: node for node in model.graph.node}
    return [
        _integers(made_by[node.input[1]].input[0], values, made_by)
        for node in model.graph.node
        if node.op_type in WEIGHTED
    ]


def _integers(name, values, made_by):
    """Stored, or as a float weight and the QuantizeLinear that TensorRT wants before it."""
    if name in values:
        assert values[name].dtype == np.int8
        return torch.from_numpy(values[name].copy())
    node = made_by[name]
    assert node.op_type == "QuantizeLinear"
    weight, scale = (values[entry] for entry in node.input[:2])
    steps = weight / scale.reshape(-1, *[1] * (weight.ndim - 1))
    return torch.from_numpy(np.rint(steps).astype(np.int8))
