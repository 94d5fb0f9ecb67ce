"""ONNX: the exchange format, and ONNX Runtime as the runtime that proves it."""
