"""From an ONNX graph with Q/DQ to a .tflite file of integers: axes, kernels, scales, bytes."""
