"""The stages by name, in their order."""

from collections.abc import Callable, Mapping

from benchmarks.unseen.stages import (
    Found,
    Work,
    calibrate_found,
    jetson_found,
    onnx_found,
    prepare_found,
    prune_found,
    quantize_found,
)
from benchmarks.unseen.tflite_stage import tflite_found

__all__ = ["AFTER", "STAGES"]

STAGES: Mapping[str, Callable[[Work], Found]] = {
    "prepare": prepare_found,
    "calibrate": calibrate_found,
    "quantize": quantize_found,
    "onnx": onnx_found,
    "prune": prune_found,
    "jetson": jetson_found,
    "tflite": tflite_found,
}
AFTER: Mapping[str, str] = {"calibrate": "prepare", "quantize": "prepare", "onnx": "quantize"}
