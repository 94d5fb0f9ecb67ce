"""Calibration data as tensors for one network."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

from torch import Tensor, fx, nn

from torchedge.batches.adapter import batches_of
from torchedge.batches.inputs import NetworkInputs, inputs_of
from torchedge.batches.parts import Batch
from torchedge.errors import CalibrationError
from torchedge.graph.values import result_of

__all__ = ["Inputs", "calibration_batches", "input_batches", "network_inputs", "single_inputs"]

Inputs: TypeAlias = tuple[Tensor, ...]  # of one batch, a tensor for each input of the network


def calibration_batches(model: nn.Module, data: object, *, finite: bool = True) -> Iterator[Batch]:
    """Batches for a network, from whatever was given as data.

    Args:
        model: A float network, or one from ``prepare_qat``, which knows its inputs.
        data: See :class:`~torchedge.batches.data.Data`.
        finite: Refuse NaN and infinity.

    Raises:
        CalibrationError: There is no batch, or one cannot be used.

    Example:
        >>> import torch
        >>> loader = [(torch.ones(2, 3), torch.tensor([0, 1]))]
        >>> next(calibration_batches(nn.Linear(3, 1), loader)).labels
        tensor([0, 1])
    """
    return batches_of(data, network_inputs(model), finite=finite)


def input_batches(model: nn.Module, data: object) -> Iterator[Inputs]:
    """The same without what came along with the inputs.

    Raises:
        CalibrationError: As there.

    Example:
        >>> import torch
        >>> data = [(torch.ones(4, 2), torch.ones(4, 3), torch.zeros(4))]
        >>> len(next(input_batches(nn.Bilinear(2, 3, 1), data)))
        2
    """
    for batch in calibration_batches(model, data):
        yield batch.inputs


def single_inputs(model: nn.Module, data: object, *, finite: bool = True) -> Iterator[Tensor]:
    """The same for a method that works on networks with one input.

    Raises:
        CalibrationError: As there, or the network takes several inputs.
    """
    wanted = network_inputs(model)
    if (wanted.count or 1) > 1:
        names = ", ".join(f"'{name}'" for name in wanted.names)
        raise CalibrationError(
            f"{type(model).__name__} takes {wanted.count} inputs ({names}), and this works on "
            "one; give the data of one input, and leave the model out."
        )
    for batch in batches_of(data, wanted, finite=finite):
        if len(batch.inputs) > 1:
            raise CalibrationError(
                f"a batch holds {len(batch.inputs)} inputs, and this works on one; give batches "
                "with one tensor."
            )
        yield batch.inputs[0]


def network_inputs(model: nn.Module) -> NetworkInputs:
    """What a network takes: of a traced one shapes and types are known, too.

    Example:
        >>> network_inputs(nn.Linear(3, 1)).names
        ('input',)
    """
    known = inputs_of(model)
    if not isinstance(model, fx.GraphModule):
        return known
    places = [node for node in model.graph.nodes if node.op == "placeholder"]
    results = [result_of(node) for node in places]
    traced = replace(known, names=tuple(str(node.target) for node in places))
    if not all(result is not None and result.shape for result in results):
        return traced
    return replace(
        traced,
        shapes=tuple(result.shape[1:] for result in results if result is not None),
        dtypes=tuple(result.dtype for result in results if result is not None),
    )
