"""Run ``torchedge export`` from the repository."""

import os
import sys
from pathlib import Path

# What scripts/setup-tflite makes; exports to TFLite run onnx2tf there.
_CONVERTER = Path(__file__).resolve().parents[1] / ".venv-tflite/bin/python"

if __name__ == "__main__":
    if _CONVERTER.exists():
        os.environ.setdefault("TORCHEDGE_TFLITE_PYTHON", str(_CONVERTER))
    try:
        from torchedge.cli import main

        sys.argv.insert(1, "export")
        sys.exit(main())
    except ModuleNotFoundError as error:
        sys.exit(
            f"error: {error.name} is not installed; run scripts/demo once, then .venv/bin/python."
        )
