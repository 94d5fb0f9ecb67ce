"""This project's side: a network to the file that ONNX Runtime runs."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from torchedge.backends import ONNX_RUNTIME
from torchedge.compressed import CompressedModel
from torchedge.scheme import QuantScheme
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE, TorchToOnnx

__all__ = ["exported", "outputs", "runtime_outputs"]

_BATCH = 32


def exported(
    model: nn.Module, images: Tensor, folder: Path, scheme: QuantScheme = ONNX_RUNTIME
) -> Path:
    """Write the Q/DQ file of a calibrated model, for one image at a time."""
    artifact = CompressedModel(
        module=model, scheme=scheme, example_inputs=(images[:1],), samples=(images[:2],)
    ).save(folder / "torch")
    (folder / "onnx").mkdir()
    return TorchToOnnx().export(artifact, folder / "onnx").path / MODEL_FILE


def outputs(model: nn.Module, images: Tensor) -> Tensor:
    """What a module answers in evaluation mode; rows x classes."""
    with torch.no_grad():
        return torch.cat([model.eval()(batch) for batch in images.split(_BATCH)])


def runtime_outputs(path: Path, images: Tensor) -> Tensor:
    """What ONNX Runtime answers, one image at a time; rows x classes."""
    session = open_model(path)
    return torch.from_numpy(np.concatenate([session(x.numpy())[0] for x in images.split(1)]))
