"""Pictures made from a network's own statistics, for calibration without data."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from torchedge.errors import CalibrationError
from torchedge.graph.copies import copied

__all__ = ["generated_from_batchnorms"]

_COUNT, _STEPS = 16, 100
_LEARNING_RATE = 0.1


def generated_from_batchnorms(
    model: nn.Module, example: Tensor, *, count: int = _COUNT, steps: int = _STEPS, seed: int = 0
) -> Tensor:
    """Inputs whose activations have the means and deviations that batch norms remember.

    Noise is moved by Adam to lessen ``Σ |mean - running mean|² + |deviation - running deviation|²``
    of every batch norm's input, both by that deviation so that no layer outweighs the others (after
    Cai et al. 2020, ZeroQ, section 3.1, who do not divide). What comes out is no
    picture of anything: it has the right ranges, and says nothing about accuracy. Each step
    is a forward and a backward pass: a ResNet-18 with 16 pictures of 224 × 224 takes minutes on two
    cores.

    Args:
        model: Has batch norms with statistics; it is not changed.
        example: One input, for its shape.
        count: How many to make.
        steps: Of Adam.
        seed: Of the noise.

    Returns:
        A tensor of shape ``(count, *example.shape[1:])``.

    Raises:
        CalibrationError: There is no batch norm with statistics.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        >>> generated_from_batchnorms(net, torch.zeros(1, 1, 8, 8), count=4, steps=2).shape
        torch.Size([4, 1, 8, 8])
    """
    network = copied(model).eval().requires_grad_(False)
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        raise CalibrationError(
            "there is no data, and the network has no batch norm whose statistics data could be "
            "made from; give some 50 to 500 real inputs."
        )
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(count, *example.shape[1:], generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([made], lr=_LEARNING_RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        with _distances(norms) as distances, torch.enable_grad():
            network(made)
        torch.stack(distances).sum().backward()
        optimizer.step()
    return made.detach()


@contextmanager
def _distances(norms: list[_BatchNorm]) -> Iterator[list[Tensor]]:
    """While it is open, how far the input of each batch norm is from what it remembers."""
    found: list[Tensor] = []

    def look(norm: _BatchNorm, inputs: tuple[Any, ...]) -> None:
        x = inputs[0].transpose(0, 1).flatten(1)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        wanted = (norm.running_var + norm.eps).sqrt()
        mean = ((x.mean(1) - norm.running_mean) / wanted).square().mean()
        deviation = (x.var(1, unbiased=False) + norm.eps).sqrt()
        found.append(mean + (deviation / wanted - 1).square().mean())

    handles: list[RemovableHandle] = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
