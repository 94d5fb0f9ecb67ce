"""Other ways from the same float network to an int8 .tflite file."""

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.peers.packages import package, quiet
from torchedge.bench.session import Array
from torchedge.errors import ExportError
from torchedge_tflite.process import find_converter

__all__ = ["ai_edge_int8", "channels_last", "onnx2tf_int8"]

_LIMIT_S = 900


def channels_last(samples: Array) -> Array:
    """Samples as a .tflite file takes them."""
    return np.ascontiguousarray(np.moveaxis(samples, 1, -1)) if samples.ndim > 2 else samples


def onnx2tf_int8(model: Path, calibration: Array) -> bytes:
    """What ``onnx2tf -oiqt`` makes of an ONNX file.

    Args:
        model: Its input is called ``input_0``.
        calibration: In PyTorch's layout.

    Raises:
        MissingDependencyError: onnx2tf is not there.
        ExportError: It failed or took too long; the text has its last line.
    """
    converter = find_converter()
    child = Path(__file__).with_name("onnx2tf_child.py")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "calibration.npy", channels_last(calibration))
        out = folder / "out.tflite"
        arguments = [str(model.resolve()), str(folder / "calibration.npy"), str(out)]
        try:
            done = subprocess.run(
                [converter.python, str(child), *arguments],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=_LIMIT_S,
                encoding="utf-8",
            )
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"onnx2tf -oiqt took more than {_LIMIT_S} s.") from error
        if not out.is_file():
            said = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
            raise ExportError(f"onnx2tf -oiqt made no file: {said[-1][:200]}")
        return out.read_bytes()


@quiet()
def ai_edge_int8(float_file: Path, calibration: Array) -> bytes:
    """What ai-edge-quantizer makes of a float .tflite file: int8 weights and activations.

    Args:
        float_file: Its input is called ``input_0`` in its signature.
        calibration: In PyTorch's layout.

    Raises:
        MissingDependencyError: The package is not installed.
    """
    quantizer = package("ai_edge_quantizer.quantizer")
    recipe = package("ai_edge_quantizer.recipe")
    samples = [{"input_0": channels_last(sample[None])} for sample in calibration]
    tool = quantizer.Quantizer(str(float_file), recipe.static_wi8_ai8())
    result = tool.quantize(tool.calibrate({"serving_default": samples}, num_threads=1))
    return bytes(result.quantized_model)
