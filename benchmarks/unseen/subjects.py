"""A network as it is tried: random weights that matter, norms that know the data, smooth inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.unseen.catalogue import Entry

__all__ = ["Subject", "settled", "subject", "tensors_of_answer"]

_SAMPLES = 16
_SMALL = 0.02


@final
@dataclass(frozen=True, kw_only=True)
class Subject:
    """A float network and its inputs.

    Args:
        model: In evaluation mode.
        seen: What calibrates it.
        unseen: What it is judged on.
    """

    model: nn.Module
    seen: Tensor
    unseen: Tensor

    @property
    def example(self) -> tuple[Tensor]:
        """One set of inputs of batch size 1."""
        return (self.seen[:1],)


def subject(entry: Entry) -> Subject:
    """A network of the catalogue, made ready."""
    torch.manual_seed(0)
    model = entry.make()
    data = _tokens(entry) if entry.tokens else smooth(entry.shape)
    return Subject(model=settled(model, data), seen=data[:_SAMPLES], unseen=data[_SAMPLES:])


def _tokens(entry: Entry) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(entry.tokens, (2 * _SAMPLES, *entry.shape), generator=generator)


def smooth(shape: tuple[int, ...]) -> Tensor:
    """Random pictures or signals of low frequencies, with some noise.

    Example:
        >>> smooth((3, 24, 24)).shape
        torch.Size([32, 3, 24, 24])
    """
    generator = torch.Generator().manual_seed(1)
    channels, *sides = shape
    coarse = torch.randn(2 * _SAMPLES, channels, *(8 for _ in sides), generator=generator)
    mode = "bicubic" if len(sides) == 2 else "linear"
    grown = F.interpolate(coarse, size=tuple(sides), mode=mode)
    return grown + 0.3 * torch.randn(grown.shape, generator=generator)


@torch.no_grad()
def settled(model: nn.Module, data: Tensor) -> nn.Module:
    """Weights that begin at nothing are filled, and batch norms get the statistics of the data.

    Layers that begin at zero (heads, the last norm of a residual branch, layer scales) would hide
    whatever goes wrong before them.

    Args:
        model: A fresh network; it is changed.
        data: Inputs.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> nn.init.zeros_(layer.weight)
        Parameter containing:
        tensor([[0., 0.]], requires_grad=True)
        >>> bool(settled(layer, torch.ones(4, 2)).weight.abs().max() > 0)
        True
    """
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if float(parameter.abs().max()) < _SMALL and not name.endswith("bias"):
            _fill(parameter, generator)
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    for norm in norms:
        _settle(norm, generator)
    model.eval()
    for norm in norms:
        norm.train()
    model(data)  # all at once: of parts, each norm would know another network before it
    return model.eval()


def _fill(parameter: Tensor, generator: torch.Generator) -> None:
    """Around 0.05 for weights of layers, between 0.2 and 0.6 for factors of channels."""
    values = torch.rand(parameter.shape, generator=generator)
    parameter.copy_(0.2 + 0.4 * values if parameter.ndim == 1 else 0.17 * (values - 0.5))


def _settle(norm: _BatchNorm, generator: torch.Generator) -> None:
    """Biases of about one deviation: with less, a deep network of random weights is chaotic.

    Each norm spreads the inputs further apart, as it does their rounding errors, and after twenty
    layers nothing but noise is left; a trained network does not do that.
    """
    norm.reset_running_stats()
    norm.momentum = None
    if norm.affine:
        norm.weight.copy_(0.6 + 0.8 * torch.rand(norm.weight.shape, generator=generator))
        norm.bias.copy_(0.6 + 0.8 * torch.rand(norm.bias.shape, generator=generator))


def tensors_of_answer(answer: object) -> tuple[Tensor, ...]:
    """The tensors in whatever a network returns, in order.

    Example:
        >>> len(tensors_of_answer({"out": torch.zeros(1), "more": [torch.zeros(1)]}))
        2
    """
    if isinstance(answer, Tensor):
        return (answer,)
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    elif is_dataclass(answer):
        answer = [getattr(answer, field.name) for field in fields(answer)]
    parts = answer if isinstance(answer, list | tuple) else []
    return tuple(tensor for part in parts for tensor in tensors_of_answer(part))
