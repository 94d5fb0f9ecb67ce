"""Runs onnx2tf and TensorFlow's converter in a process of its own; needs nothing of torchedge.

``python convert_child.py JOB.json``: the job lists .tflite files to write, each with its graph and
its precision, and the network's outputs.
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
_SAVED_MODEL, _SIGNATURE = "saved_model", "serving_default"


def main(job_file: Path) -> None:
    """Write the .tflite files of a job; the working directory is used as scratch space."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    _write_dry_run_pictures()
    for wanted in job["files"]:
        model = _network(wanted["graph"])
        data = _converted(model, job["outputs"], wanted["precision"])
        Path(wanted["out"]).write_bytes(data)


def _write_dry_run_pictures() -> None:
    import numpy as np

    pictures = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
    np.save(_SAMPLE_FILE, pictures)


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


def _converted(model: Any, outputs: list[str], precision: str) -> bytes:
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
    _set_precision(converter, precision)
    return bytes(converter.convert())


def _set_precision(converter: Any, precision: str) -> None:
    import tensorflow as tf

    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are no business of TensorFlow's
    os.environ.update(_QUIET)
    main(Path(sys.argv[1]))
