"""Calibration data as tensors for one network."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor, fx, nn

from torchedge.batches.adapter import batches_of
from torchedge.batches.inputs import NetworkInputs, inputs_of
from torchedge.batches.parts import Batch
from torchedge.errors import CalibrationError
from torchedge.graph.values import result_of

__all__ = ["calibration_batches", "network_inputs", "only_input", "single_inputs"]


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
            "networks with one; use prepare_qat and calibrate, which take several."
        )
    for batch in batches_of(data, wanted, finite=finite):
        yield only_input(batch)


def only_input(batch: Batch) -> Tensor:
    """The input of a batch for a network that has one.

    Raises:
        CalibrationError: There are several.

    Example:
        >>> import torch
        >>> only_input(Batch(inputs=(torch.ones(1),)))
        tensor([1.])
    """
    if len(batch.inputs) > 1:
        raise CalibrationError(
            f"a batch holds {len(batch.inputs)} inputs, and this works on networks with one; use "
            "prepare_qat and calibrate, which take several."
        )
    return batch.inputs[0]


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
