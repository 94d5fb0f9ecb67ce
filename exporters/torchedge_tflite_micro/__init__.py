"""TensorFlow Lite Micro: projects for microcontrollers, and the runtime that proves them."""
