"""What the calls work with, made once."""

import contextlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.calls.networks import net
from torchedge.compressed import CompressedModel
from torchedge.exporting import Artifact, target
from torchedge.quantization import calibrate, minmax, prepare_qat

__all__ = ["Scene"]


@final
class Scene:
    """Networks, data and files in a folder of their own.

    Args:
        folder: Where files are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """A wrong path without a folder, such as ``x``, is written in the scene's own."""
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            yield
        finally:
            os.chdir(before)

    @property
    def new(self) -> Path:
        """A folder that is not there yet."""
        self._count += 1
        return self.folder / f"new-{self._count}"

    @cached_property
    def x(self) -> Tensor:
        """Sixteen pictures."""
        return torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    @cached_property
    def y(self) -> Tensor:
        """Their labels."""
        return torch.arange(16) % 4

    @cached_property
    def dataset(self) -> TensorDataset:
        """Both."""
        return TensorDataset(self.x, self.y)

    @property
    def loader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Both in batches of 8."""
        return DataLoader(self.dataset, 8)

    @property
    def net(self) -> nn.Module:
        """A fresh copy of the network."""
        return net()

    @cached_property
    def prepared(self) -> nn.Module:
        """For ONNX Runtime, without ranges."""
        return prepare_qat(self.net, target("onnx-cpu").scheme, (self.x[:1],))

    @cached_property
    def calibrated(self) -> nn.Module:
        """With ranges."""
        return calibrate(self.prepared, [self.x], minmax)

    @cached_property
    def saved(self) -> Artifact:
        """An artefact on integers."""
        scheme = target("onnx-cpu").scheme
        model = CompressedModel(
            module=self.calibrated, example_inputs=(self.x[:1],), samples=(self.x,), scheme=scheme
        )
        return model.save(self.folder / "saved")

    @cached_property
    def saved_float(self) -> Artifact:
        """An artefact in float."""
        model = CompressedModel(
            module=self.net, example_inputs=(self.x[:1],), samples=(self.x,), name="net"
        )
        return model.save(self.folder / "saved-float")

    @cached_property
    def pictures(self) -> Path:
        """A folder of pictures in two classes."""
        for name, value in (("cat", 40), ("dog", 200)):
            (self.folder / "pictures" / name).mkdir(parents=True)
            for n in range(4):
                picture = Image.new("RGB", (10, 12), (value, 10 * n, 0))
                picture.save(self.folder / "pictures" / name / f"{n}.png")
        return self.folder / "pictures"

    @cached_property
    def arrays(self) -> Path:
        """A folder of arrays, one of them with NaN."""
        (self.folder / "arrays").mkdir()
        for n in range(4):
            values = np.full((1, 8, 8), np.nan if n == 3 else n, np.float32)
            np.save(self.folder / "arrays" / f"{n}.npy", values)
        return self.folder / "arrays"

    @cached_property
    def onnx(self) -> Path:
        """A float ONNX file of the network."""
        import onnx

        sizes = [1, 1, 8, 8]
        values = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)
            for name in ("x", "y")
        ]
        node = onnx.helper.make_node("Relu", ["x"], ["y"])
        graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
        opset = [onnx.helper.make_opsetid("", 18)]
        path = self.folder / "net.onnx"
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
        return path

    def file(self, name: str, content: bytes = b"nothing of use") -> Path:
        """A file with this content."""
        path = self.folder / name
        path.write_bytes(content)
        return path
