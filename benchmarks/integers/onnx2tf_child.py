"""onnx2tf's own int8 path, as its command line with ``-oiqt`` goes it; needs nothing of torchedge.

``python onnx2tf_child.py MODEL.onnx CALIBRATION.npy OUT.tflite``, in an empty working directory.
The array has channels last, as onnx2tf wants it, and is not normalised again.
"""

import os
import sys
from importlib.metadata import version
from pathlib import Path

__all__ = ["main"]

_SAMPLE_FILE = "calibration_image_sample_data_20x128x128x3_float32.npy"  # else downloaded


def main(model: str, calibration: str, out: str) -> None:
    """Convert and quantise."""
    import numpy as np
    import onnx2tf

    pictures = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
    np.save(_SAMPLE_FILE, pictures)
    old = version("onnx2tf").startswith("1.")
    onnx2tf.convert(
        **({} if old else {"tflite_backend": "tf_converter"}),
        input_onnx_file_path=model,
        output_folder_path="written",
        output_integer_quantized_tflite=True,
        custom_input_op_name_np_data_path=[
            ["input_0", calibration, np.float32(0), np.float32(1)],
        ],
        verbosity="error",
    )
    (written,) = Path("written").glob("*_full_integer_quant.tflite")
    Path(out).write_bytes(written.read_bytes())


if __name__ == "__main__":
    sys.path.pop(0)
    os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "2", "TF_USE_LEGACY_KERAS": "1"})
    main(*sys.argv[1:])
