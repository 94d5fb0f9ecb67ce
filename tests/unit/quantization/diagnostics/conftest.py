import pytest
from torch import nn

from torchedge import exporting
from torchedge.quantization import calibrate, minmax, prepare_qat


@pytest.fixture
def scheme():
    return exporting.target("onnx-cpu").scheme


@pytest.fixture
def model(net, images, scheme):
    return calibrate(prepare_qat(net, scheme, (images[:1],)), images.split(8), minmax)


class Twice(nn.Module):
    """One layer called twice, an operation in place on a tensor that is read later, two outputs."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = self.stem(x)
        y = self.shared(x)
        x = x.relu_()
        z = self.shared(x + y)
        return self.head(z), z.mean((2, 3))


@pytest.fixture
def twice(images, scheme):
    return calibrate(prepare_qat(Twice(), scheme, (images[:1],)), images.split(8), minmax).eval()
