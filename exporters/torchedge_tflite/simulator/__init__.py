"""The arithmetic of TensorFlow Lite Micro in numpy: a second implementation, integer by integer."""

from torchedge_tflite.simulator.program import Simulator, unknown_operators

__all__ = ["Simulator", "unknown_operators"]
