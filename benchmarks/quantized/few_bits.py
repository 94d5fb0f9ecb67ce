"""Training at few bits: fixed scales, learned scales, and brevitas' quantisers on the same work."""

import copy
import statistics
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.brevitas_layers import brevitas_layers
from benchmarks.peers.packages import attempted
from benchmarks.quantized.few_bits_networks import FLOAT_LAYERS, NETWORKS, copied_state
from torchedge.data import Digits
from torchedge.quantization import (
    QuantScheme,
    QuantSpec,
    calibrate,
    learn_step_sizes,
    prepare_qat,
)

__all__ = ["WIDTHS", "few_bits"]

WIDTHS = ((4, 8), (3, 8), (2, 8), (4, 4), (3, 3))
_EPOCHS = 5
_FLOAT_EPOCHS = 8
_BATCH = 64
_LEARNING_RATE = 1e-3
_CALIBRATION = 512

Contestant: TypeAlias = Callable[[str, nn.Module, int, int, Digits], nn.Module]
Rows: TypeAlias = dict[str, dict[str, float]]


def few_bits(
    *,
    networks: tuple[str, ...] = tuple(NETWORKS),
    widths: tuple[tuple[int, int], ...] = WIDTHS,
    seeds: tuple[int, ...] = (0, 1, 2),
) -> Rows:
    """Accuracy in percent on 1,000 digits after five epochs of Adam(1e-3) over all parameters.

    Every contestant starts from the same float network; a seed is that of the order of batches.
    Figures are means over the seeds and standard deviations.

    Args:
        networks: Of :mod:`benchmarks.quantized.few_bits_networks`.
        widths: Bits of weights and of activations.
        seeds: One run each.
    """
    digits, rows = Digits(), Rows()
    for name in networks:
        start = _float_network(name, digits)
        rows[f"{name}, float"] = {"accuracy": accuracy(start, digits)}
        for weight_bits, activation_bits in widths:
            row = rows[f"{name}, W{weight_bits}A{activation_bits}"] = {}
            for contestant, make in CONTESTANTS.items():
                found = attempted(
                    contestant,
                    lambda make=make, name=name, start=start, w=weight_bits, a=activation_bits: [  # type: ignore[misc]
                        accuracy(trained(make(name, start, w, a, digits), digits, seed), digits)
                        for seed in seeds
                    ],
                )
                row |= _summary(contestant, found) if found else {}
            print(f"{name} W{weight_bits}A{activation_bits}:", *_shown(row), flush=True)
    return rows


def _summary(contestant: str, found: list[float]) -> dict[str, float]:
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    return {contestant: statistics.mean(found), f"{contestant} ±": spread}


def _shown(row: dict[str, float]) -> Iterator[str]:
    return (f"{name} {value:.1f}" for name, value in row.items())


def _float_network(name: str, digits: Digits) -> nn.Module:
    torch.manual_seed(0)
    return trained(NETWORKS[name](FLOAT_LAYERS), digits, 0, epochs=_FLOAT_EPOCHS).eval()


def trained(network: nn.Module, digits: Digits, seed: int, *, epochs: int = _EPOCHS) -> nn.Module:
    """The network after plain Adam over all its parameters."""
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(network.train().parameters(), lr=_LEARNING_RATE)
    for _ in range(epochs):
        for chosen in torch.randperm(len(digits.train_images)).split(_BATCH):
            optimizer.zero_grad()
            answers = network(digits.train_images[chosen])
            functional.cross_entropy(answers, digits.train_labels[chosen]).backward()
            optimizer.step()
    return network


@torch.no_grad()
def accuracy(network: nn.Module, digits: Digits) -> float:
    """Percent of the test images."""
    network.eval()
    answers = torch.cat([network(images) for images in digits.test_images.split(500)])
    return 100 * float((answers.argmax(1) == digits.test_labels).float().mean())


def scheme(weight_bits: int, activation_bits: int) -> QuantScheme:
    """Weights with a scale for each channel, unsigned activations with a zero point."""
    return QuantScheme(
        weight=QuantSpec(bits=weight_bits, axis=0, narrow=True),
        activation=QuantSpec(bits=activation_bits, symmetric=False, signed=False),
    )


def _fixed(
    name: str, start: nn.Module, weight_bits: int, activation_bits: int, digits: Digits
) -> nn.Module:
    images: Tensor = digits.train_images[:_CALIBRATION]
    numbers = scheme(weight_bits, activation_bits)
    prepared = prepare_qat(copy.deepcopy(start), numbers, (images[:2],))
    return calibrate(prepared, images.split(_BATCH))


def _learned(
    name: str, start: nn.Module, weight_bits: int, activation_bits: int, digits: Digits
) -> nn.Module:
    return learn_step_sizes(_fixed(name, start, weight_bits, activation_bits, digits))


def _brevitas(
    name: str, start: nn.Module, weight_bits: int, activation_bits: int, digits: Digits
) -> nn.Module:
    layers = brevitas_layers(weight_bits, activation_bits)
    return copied_state(start, NETWORKS[name](layers))


CONTESTANTS: dict[str, Contestant] = {
    "fixed scales": _fixed,
    "learn_step_sizes": _learned,
    "brevitas": _brevitas,
}
