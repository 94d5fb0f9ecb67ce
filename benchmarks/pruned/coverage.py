"""Half of the arithmetic of many networks removed, and what is left proved to work."""

import copy
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.coverage import with_own_statistics
from benchmarks.peers.torch_pruning import removed_by_torch_pruning
from benchmarks.pruned.networks import NAMES, network, pictures
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.exporting.artifact import load_artifact
from torchedge.pruning import Limits, channel_groups, prune_to, remove_channels
from torchedge.pruning.prune import choose_share
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE, TorchToOnnx

__all__ = ["Row", "coverage", "examined", "flops", "onnx_difference", "onnx_model"]


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """What one network shows.

    Args:
        groups: Of channels.
        prunable: Of these, how many can lose some.
        groups_seconds: Processor time of ``channel_groups``.
        prune_seconds: Processor time of ``prune_to(…, macs=0.5)``.
        macs: Share that is left, as PyTorch's own counter has it.
        parameters: Share that is left.
        trains: 1 if each weight of the pruned network got a finite gradient.
        onnx_difference: Largest difference between ONNX Runtime and PyTorch, as a share of the
            output's range.
        same_as_torch_pruning: 1 if both give the same weights when half of each group goes, 0 if
            not, -1 where there is no answer: Torch-Pruning fails, or attention was opened here
            and has no such layers there.
    """

    groups: int
    prunable: int
    groups_seconds: float
    prune_seconds: float
    macs: float
    parameters: float
    trains: int
    onnx_difference: float
    same_as_torch_pruning: int


def coverage(names: Sequence[str] = ()) -> Mapping[str, Row]:
    """Networks by name; all if none is given."""
    return {name: examined(name) for name in names or NAMES}


def examined(name: str) -> Row:
    """Prune one network, train a step, and export it."""
    model, data = network(name), pictures(name)
    image = data[:1]
    begin = time.process_time()
    groups = channel_groups(model, (image,))
    middle = time.process_time()
    pruned = prune_to(model, (image,), macs=0.5)
    end = time.process_time()
    return Row(
        groups=len(groups),
        prunable=sum(group.prunable for group in groups),
        groups_seconds=middle - begin,
        prune_seconds=end - middle,
        macs=flops(pruned, image) / flops(model, image),
        parameters=_size(pruned) / _size(model),
        trains=_trains(pruned, image),
        onnx_difference=onnx_difference(with_own_statistics(pruned, data), image),
        same_as_torch_pruning=_same_as_torch_pruning(model, image),
    )


def flops(model: nn.Module, image: Tensor) -> int:
    """Floating-point operations of convolutions, matrix products and attention, by PyTorch.

    With gradients and attention in parts: the counter does not know the operators that do all of
    ``nn.MultiheadAttention`` or of scaled dot products at once.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops()


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _trains(pruned: nn.Module, image: Tensor) -> int:
    trained = copy.deepcopy(pruned).train()
    trained(torch.cat([image, image.flip(-1)])).square().mean().backward()
    gradients = [p.grad for p in trained.parameters()]
    return int(all(g is not None and bool(g.isfinite().all()) for g in gradients))


def onnx_difference(pruned: nn.Module, image: Tensor) -> float:
    """Save, load and export a network, and run it in both runtimes."""
    with tempfile.TemporaryDirectory() as folder:
        path = onnx_model(pruned, image, Path(folder))
        with TorchRunner().open(load_artifact(Path(folder, "torch"))) as reference:
            (wanted,) = reference(image.numpy())
        (found,) = open_model(path)(image.numpy())
    return float(np.abs(found - wanted).max() / np.ptp(wanted))


def onnx_model(model: nn.Module, image: Tensor, folder: Path) -> Path:
    """Save a network to ``folder/torch``, and export the artefact to ``folder/onnx``."""
    saved = CompressedModel(module=model, example_inputs=(image,), samples=(image,))
    (folder / "onnx").mkdir()
    artifact = saved.save(folder / "torch")
    return TorchToOnnx().export(artifact, folder / "onnx").path / MODEL_FILE


def _same_as_torch_pruning(model: nn.Module, image: Tensor) -> int:
    keep = choose_share(model, (image,), 0.5, limits=Limits(multiple=1))
    ours = remove_channels(model, keep).state_dict()
    try:
        theirs = removed_by_torch_pruning(model, (image,), keep).state_dict()
    except Exception:  # whatever it is, there is nothing to compare with
        return -1
    equal = ours.keys() == theirs.keys() and all(
        ours[key].shape == theirs[key].shape and torch.equal(ours[key], theirs[key]) for key in ours
    )
    return int(equal)
