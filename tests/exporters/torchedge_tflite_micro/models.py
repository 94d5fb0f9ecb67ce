"""Files of one operator, as small and as large as tests want them."""

import numpy as np

from tests.exporters.torchedge_tflite.files import Tensor, file_of


def dense(inputs=12, outputs=3):
    """A linear layer."""
    random = np.random.default_rng(0)
    x, y = Tensor((1, inputs), 1 / 128), Tensor((1, outputs), 1 / 16, -3)
    values = random.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    weight = Tensor((outputs, inputs), 0.01, values=values)
    bias = Tensor(
        (outputs,), 0.01 / 128, dtype="int32", values=random.integers(-99, 99, outputs, np.int32)
    )
    return file_of("FULLY_CONNECTED", [x, weight, bias], [y], ("FullyConnectedOptions", {}))


def convolution(size=8, inputs=2, outputs=4, kernel=3):
    """A convolution over a square picture, without borders."""
    random = np.random.default_rng(0)
    result = size - kernel + 1
    x, y = Tensor((1, size, size, inputs), 1 / 128), Tensor((1, result, result, outputs), 1 / 16)
    shape = (outputs, kernel, kernel, inputs)
    values = random.integers(-127, 128, shape).astype(np.int8)
    weight = Tensor(shape, (0.01,) * outputs, values=values)
    bias = Tensor(
        (outputs,), (0.01 / 128,) * outputs, dtype="int32", values=np.zeros(outputs, np.int32)
    )
    options = {"padding": 1, "strideH": 1, "strideW": 1}
    options |= {"dilationHFactor": 1, "dilationWFactor": 1}
    return file_of("CONV_2D", [x, weight, bias], [y], ("Conv2DOptions", options))
