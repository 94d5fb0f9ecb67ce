"""torchedge: from a trained PyTorch network to verified artefacts on edge devices.

Importing this package costs nothing and has no effect; import the room you need, for example
``torchedge.quantization`` or ``torchedge.export``.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
