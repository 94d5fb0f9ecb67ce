"""A user's data in two parts: what calibrates, and what every form of a network is compared on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from torchedge.arguments import require
from torchedge.batches.adapter import batches_of
from torchedge.batches.examples import Examples, example_tensors, run_once
from torchedge.batches.inputs import inputs_of
from torchedge.bench.session import Array
from torchedge.graph.trace import evaluating
from torchedge.quantization.generated_data import generated_from_batchnorms
from torchedge.saving.checks import require_indices
from torchedge.saving.given import labels_of, samples_of
from torchedge.saving.outputs import has_scores, named_tensors
from torchedge.saving.reference import answers_in_batches

__all__ = ["Samples", "SplitData", "first_sample", "generated", "read_again", "split"]

_BATCH_SIZE = 32
_CHECKED = 4  # one of so many samples is compared on, and not calibrated with
_FEWEST = 8


@final
@dataclass(frozen=True, kw_only=True)
class Samples:
    """Inputs, a tensor for each with the samples along the first axis, and their labels.

    Args:
        inputs: At least one.
        labels: Class indices, where they are known.
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor | None = None

    @property
    def batches(self) -> list[tuple[Tensor, ...]]:
        """The inputs in batches."""
        return list(zip(*(x.split(_BATCH_SIZE) for x in self.inputs), strict=True))

    def answers(self, model: nn.Module) -> tuple[Array, ...]:
        """The outputs of a network in evaluation mode, samples along the first axis."""
        with evaluating(model):
            return tuple(answers_in_batches(model, self.inputs, _BATCH_SIZE).values())


@final
@dataclass(frozen=True, kw_only=True)
class SplitData:
    """Data in two parts.

    Args:
        example: One sample of each input, as a batch of one.
        calibration: What ranges and roundings are chosen with.
        check: What every form is compared on.
        checked: What those are, in words.
        notes: What else must be said of them, sentences without a full stop.
    """

    example: tuple[Tensor, ...]
    calibration: Samples
    check: Samples
    checked: str
    notes: tuple[str, ...] = ()


def read_again(data: object) -> object:
    """Data that can be read more than once: a generator as a list.

    Example:
        >>> read_again(x for x in "ab")
        ['a', 'b']
    """
    return list(data) if isinstance(data, Iterator) else data


def first_sample(model: nn.Module, data: object) -> tuple[Tensor, ...]:
    """One sample of each input, as a batch of one.

    Args:
        model: That takes them.
        data: Any, but a generator, which would lose its first batch by it.

    Example:
        >>> [x.shape for x in first_sample(nn.Linear(3, 2), torch.rand(4, 3))]
        [torch.Size([1, 3])]
    """
    batch = next(batches_of(data, inputs_of(model), what="samples", finite=False))
    return tuple(tensor[:1].cpu() for tensor in batch.inputs)


def split(
    network: nn.Module, data: object, labels: object, example_inputs: Examples | None
) -> SplitData:
    """One sample of four apart; of less than eight, all are in both parts.

    Args:
        network: That takes them; it is run once.
        data: Any, see :class:`~torchedge.batches.data.Data`.
        labels: Class indices, where they do not come with the data. Those that do are left out
            where the first output is no row of scores.
        example_inputs: One set of inputs, where it is given.

    Raises:
        CalibrationError: There is no data, or labels are no class indices.
    """
    data = read_again(data)
    example = (
        first_sample(network, data)
        if example_inputs is None
        else example_tensors(network, example_inputs)
    )
    inputs, found = samples_of("data", network, data, example)
    outputs = named_tensors(run_once(network, example))
    known = found if labels is None and has_scores(outputs) else labels_of(labels)
    require(known is None or isinstance(known, Tensor), "labels", labels, "give class indices")
    if isinstance(known, Tensor):
        require_indices(known, len(inputs[0]), next(iter(outputs.values())))
        return _in_two(example, Samples(inputs=inputs, labels=known.cpu()))
    return _in_two(example, Samples(inputs=inputs))


def generated(network: nn.Module, example_inputs: Examples | None) -> SplitData:
    """Inputs that are made from the statistics of the batch norms.

    Raises:
        UsageError: There is no example to take the shape from, or the network has several inputs.
        CalibrationError: There is no batch norm with statistics.
    """
    way_out = "without data give one input, so that its shape is known"
    require(example_inputs is not None, "example_inputs", example_inputs, way_out)
    examples = example_tensors(network, example_inputs)
    way_out = "give data: it is made for networks with one input only"
    require(len(examples) == 1, "the number of inputs", len(examples), way_out)
    made = generated_from_batchnorms(network, examples[0])
    note = (
        f"Calibrated and compared on {len(made)} generated inputs, made from the statistics of the "
        "batch norms: they say nothing about accuracy"
    )
    return _in_two((examples[0][:1],), Samples(inputs=(made,)), note)


def _in_two(example: tuple[Tensor, ...], samples: Samples, *notes: str) -> SplitData:
    count = len(samples.inputs[0])
    if count < _FEWEST:
        checked = f"the {count} samples that calibrated, too"
        return SplitData(
            example=example, calibration=samples, check=samples, checked=checked, notes=notes
        )
    held = torch.arange(count) % _CHECKED == _CHECKED - 1
    return SplitData(
        example=example,
        calibration=_part(samples, ~held),
        check=_part(samples, held),
        checked=f"{int(held.sum()):,} samples that did not calibrate",
        notes=notes,
    )


def _part(samples: Samples, chosen: Tensor) -> Samples:
    labels = None if samples.labels is None else samples.labels[chosen]
    return Samples(inputs=tuple(x[chosen] for x in samples.inputs), labels=labels)
