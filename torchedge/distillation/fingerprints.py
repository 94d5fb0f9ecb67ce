"""Telling networks and data apart by hash."""

import hashlib
from typing import Protocol

import torch
from torch import Tensor, nn

__all__ = ["fingerprint", "sample_digests"]

_CHECKED_SAMPLES = 256


class SizedInputs(Protocol):
    """Tensors by their number."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int, /) -> Tensor:
        """One of them."""


def fingerprint(network: nn.Module) -> str:
    """SHA-256 over the names, shapes, types and bytes of everything in a network's state.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> before = fingerprint(layer)
        >>> nn.init.zeros_(layer.bias)[0].item(), fingerprint(layer) == before
        (0.0, False)
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous().flatten()
    return plain.view(torch.uint8).numpy().tobytes()


def sample_digests(inputs: SizedInputs) -> dict[str, str]:
    """Hashes of up to 256 samples spread over the data, by their number.

    Example:
        >>> sorted(sample_digests(torch.zeros(3, 2)))
        ['0', '1', '2']
    """
    count = len(inputs)
    chosen = range(count) if count <= _CHECKED_SAMPLES else _spread(count)
    return {str(index): hashlib.sha256(_bytes(inputs[index])).hexdigest() for index in chosen}


def _spread(count: int) -> list[int]:
    return [round(i * (count - 1) / (_CHECKED_SAMPLES - 1)) for i in range(_CHECKED_SAMPLES)]
