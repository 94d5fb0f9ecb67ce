"""TensorRT on NVIDIA Jetson: a PC writes a bundle, the Jetson builds and times the engine."""
