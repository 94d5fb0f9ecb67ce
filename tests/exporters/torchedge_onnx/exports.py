"""A network on its way to a file that ONNX Runtime runs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.exporting import Artifact
from torchedge.scheme import QuantScheme
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE, TorchToOnnx


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Both forms, and what they take."""

    artifact: Artifact
    path: Path
    samples: list[tuple[np.ndarray]]

    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """Of ONNX Runtime and of PyTorch on integers."""
        session = open_model(self.path)
        with TorchRunner().open(self.artifact) as reference:
            runs = [(session(*x)[0], reference(*x)[0]) for x in self.samples]
        found, wanted = zip(*runs, strict=True)
        return np.concatenate(found), np.concatenate(wanted)


def exported(model: nn.Module, scheme: QuantScheme, images: torch.Tensor, folder: Path) -> Exported:
    """A calibrated model as a saved program and as an ONNX file, one image at a time."""
    artifact = CompressedModel(
        module=model, scheme=scheme, example_inputs=(images[:1],), samples=(images,)
    ).save(folder / "torch")
    (folder / "onnx").mkdir()
    path = TorchToOnnx().export(artifact, folder / "onnx").path / MODEL_FILE
    samples = [(x.numpy(),) for x in images.split(1)]
    return Exported(artifact=artifact, path=path, samples=samples)
