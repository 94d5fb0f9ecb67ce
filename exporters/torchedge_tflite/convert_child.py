"""Runs onnx2tf and TensorFlow's converter in a process of its own; needs nothing of torchedge.

``python convert_child.py JOB.json``: the job lists .tflite files to write, each with its graph, its
precision and the type of its inputs and outputs, and the network's outputs. onnx2tf drops
quantisers; here their handlers are replaced, so that the ranges of training reach TensorFlow's
converter.
"""

# TensorFlow and onnx2tf have no types, and mypy may not see them at all.
# ruff: noqa: ANN401

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["main"]

# onnx2tf downloads this picture array when a network reads pictures; it only feeds dry runs.
_SAMPLE_FILE = "calibration_image_sample_data_20x128x128x3_float32.npy"
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1", "TF_USE_LEGACY_KERAS": "1"}
_INT8_MIN, _INT8_MAX = -128, 127
_SAVED_MODEL, _SIGNATURE = "saved_model", "serving_default"


def main(job_file: Path) -> None:
    """Write the .tflite files of a job; the working directory is used as scratch space."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    _write_dry_run_pictures()
    _replace_handlers()
    for wanted in job["files"]:
        model = _network(wanted["graph"])
        data = _converted(model, job["outputs"], wanted["precision"], wanted["io"])
        Path(wanted["out"]).write_bytes(data)


def _write_dry_run_pictures() -> None:
    import numpy as np

    pictures = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
    np.save(_SAMPLE_FILE, pictures)


def _replace_handlers() -> None:
    from onnx2tf.ops import DequantizeLinear, QuantizeLinear

    QuantizeLinear.make_node = _quantizer
    DequantizeLinear.make_node = _nothing


def _quantizer(*, graph_node: Any, tf_layers_dict: dict[str, Any], **_: Any) -> None:
    """Handle ``QuantizeLinear`` by a fake quantisation with the range that its numbers mean."""
    import tensorflow as tf

    source, scale, zero_point = graph_node.inputs
    step, zero = float(scale.values), int(zero_point.values)
    entry = _passed_on(graph_node, tf_layers_dict[source.name])
    entry["tf_node"] = tf.quantization.fake_quant_with_min_max_args(
        entry["tf_node"],
        min=(_INT8_MIN - zero) * step,
        max=(_INT8_MAX - zero) * step,
        name=graph_node.outputs[0].name,
    )
    tf_layers_dict[graph_node.outputs[0].name] = entry


def _nothing(*, graph_node: Any, tf_layers_dict: dict[str, Any], **_: Any) -> None:
    """Handle ``DequantizeLinear``: the quantiser before it has handed on real values."""
    source = tf_layers_dict[graph_node.inputs[0].name]
    tf_layers_dict[graph_node.outputs[0].name] = _passed_on(graph_node, source)


def _passed_on(graph_node: Any, source: dict[str, Any]) -> dict[str, Any]:
    """What onnx2tf keeps about a tensor, layout included, under the next one's name."""
    result = graph_node.outputs[0]
    layout = {"nhwc", "before_op_output_shape_trans"}
    kept: dict[str, Any] = {key: source[key] for key in source if key in layout}
    return {
        **kept,
        "optype": graph_node.op,
        "shape": result.shape,
        "dtype": result.dtype,
        "tf_node": source["tf_node"],
        "tf_node_info": {"tf_op_type": graph_node.op, "tf_inputs": {}, "tf_outputs": {}},
    }


def _network(path: str) -> Any:
    import onnx2tf

    # Version 2 would write .tflite files itself, with floats inside; what it has for TensorFlow is
    # what version 1 has.
    old = version("onnx2tf").startswith("1.")
    return onnx2tf.convert(
        **({} if old else {"tflite_backend": "tf_converter"}),
        input_onnx_file_path=path,
        output_folder_path="onnx2tf",
        not_use_onnxsim=True,
        not_use_opname_auto_generate=True,
        disable_model_save=True,
        verbosity="info",
    )


def _converted(model: Any, outputs: list[str], precision: str, io: str) -> bytes:
    """Let TensorFlow write a .tflite file whose signature has the names of the ONNX file."""
    import tensorflow as tf

    def named(*inputs: Any) -> dict[str, Any]:
        results = model(inputs)
        return dict(zip(outputs, results if isinstance(results, list) else [results], strict=True))

    names = [x.name.split(":")[0] for x in model.inputs]
    signature = [
        tf.TensorSpec(x.shape, x.dtype, name) for x, name in zip(model.inputs, names, strict=True)
    ]
    module = tf.Module()
    module.named = tf.function(named, input_signature=signature)
    # onnx2tf hides weights in lambda layers, where nothing that saves a model would find them.
    module.weights = list(module.named.get_concrete_function().variables)
    tf.saved_model.save(module, _SAVED_MODEL, signatures={_SIGNATURE: module.named})
    converter = tf.lite.TFLiteConverter.from_saved_model(_SAVED_MODEL, signature_keys=[_SIGNATURE])
    _set_precision(converter, precision, io)
    return bytes(converter.convert())


def _set_precision(converter: Any, precision: str, io: str) -> None:
    import tensorflow as tf

    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        converter.inference_input_type = getattr(tf, io)
        converter.inference_output_type = getattr(tf, io)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are no business of TensorFlow's
    os.environ.update(_QUIET)
    main(Path(sys.argv[1]))
