"""A written file is read back and held against the numbers of training."""

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import VerificationError
from torchedge_tflite.flatbuffer import FlatModel, FlatTensor, parse
from torchedge_tflite.lowering.meaning import Constant, Network, Value
from torchedge_tflite.lowering.program import Lowered
from torchedge_tflite.qdq_reader import Grid

__all__ = ["require_trained"]


def require_trained(written: Lowered) -> FlatModel:
    """Every scale, zero point and integer of training is in the file, where it should be.

    Args:
        written: It is parsed again.

    Returns:
        The parsed file.

    Raises:
        VerificationError: A number is not; the text names the tensor.
    """
    flat = parse(written.data)
    by_name: dict[str, list[FlatTensor]] = {}
    for tensor in flat.tensors:  # of tensors of one name, all but the first have a number behind it
        for name in {tensor.name, tensor.name.rpartition("#")[0]}:
            by_name.setdefault(name, []).append(tensor)
    for constant in _stored(written.network):
        if not any(_holds(tensor, constant) for tensor in by_name.get(constant.name, [])):
            raise VerificationError(
                f"the integers or scales of '{constant.name}' are not in the .tflite file as they "
                "were trained; please report the model."
            )
    for value in _values(written.network):
        found = [flat.tensors[index] for index in written.places.get(value.name, ())]
        _require_grids(value, found)
    return flat


def _require_grids(value: Value, found: list[FlatTensor]) -> None:
    for grid in value.grids:
        if not any(_is_on(tensor, grid) for tensor in found):
            raise VerificationError(
                f"'{value.name}' is trained to scale {grid.scale:.9g} and zero point "
                f"{grid.zero_point}, and the .tflite file has it on no such grid; please report "
                "the model."
            )


def _stored(network: Network) -> Iterator[Constant]:
    for operation in network.operations:
        for operand in operation.operands:
            if isinstance(operand, Constant) and operand.integers is not None:
                yield operand


def _values(network: Network) -> Iterator[Value]:
    for operation in network.operations:
        yield from (o for o in operation.operands if isinstance(o, Value))
    yield from network.outputs.values()


def _holds(tensor: FlatTensor, constant: Constant) -> bool:
    """The same scales, and the same integers where the file has them."""
    if tensor.values is None or constant.integers is None:
        return False
    scales = np.asarray(tensor.scales, np.float32)
    if not np.array_equal(scales, np.asarray(constant.scales, np.float32)):
        return False
    stored, trained = np.squeeze(tensor.values), np.squeeze(constant.integers)
    if stored.ndim == trained.ndim == 2:
        return any(_same_columns(stored, matrix) for matrix in (trained, trained.T))
    orders = permutations(range(trained.ndim))
    return any(np.array_equal(stored, trained.transpose(order)) for order in orders)


def _same_columns(stored: Array, trained: Array) -> bool:
    """The same columns: a linear layer may read a picture that lies in another order."""
    if stored.shape != trained.shape:
        return False
    ours, theirs = (m[:, np.lexsort(m[::-1])] for m in (stored, trained))
    return np.array_equal(ours, theirs)


def _is_on(tensor: FlatTensor, grid: Grid) -> bool:
    return tensor.scales == (float(np.float32(grid.scale)),) and tensor.zero_points == (
        grid.zero_point,
    )
