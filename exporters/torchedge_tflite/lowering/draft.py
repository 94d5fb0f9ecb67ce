"""A .tflite file while it is written: tensors and operators, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from torchedge.bench.session import Array
from torchedge_tflite.qdq_reader import Grid

__all__ = ["Draft", "DraftOperator", "DraftTensor"]


# Operators whose integer kernels do what their option says; CONCATENATION has it too, for show.
_CLIPPING = frozenset({"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL", "SUB"})


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class DraftTensor:
    """One tensor.

    Args:
        name: Of what it came from.
        shape: As the file has it.
        dtype: ``int8``, ``int32``, ``float32``, ….
        scales: None, one, or one for each channel.
        zero_points: As many.
        axis: Of the scales.
        data: What the file stores; ``None`` for what is computed.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    zero_points: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    axis: int = 0
    data: Array | None = None


@final
@dataclass(frozen=True, kw_only=True)
class DraftOperator:
    """One operator: its name in TFLite, tensors by index, and options by the schema's names."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, object] = field(default_factory=dict)


@final
class Draft:
    """Tensors and operators in the order in which they are written."""

    def __init__(self) -> None:
        self.tensors: list[DraftTensor] = []
        self.operators: list[DraftOperator] = []
        self._constants: dict[tuple[object, ...], int] = {}

    def activation(
        self, name: str, shape: Sequence[int], grid: Grid | None, dtype: str | None = None
    ) -> int:
        """A tensor that an operator computes: int8 on a grid, else float32."""
        sort = dtype or ("int8" if grid else "float32")
        scales = np.array([grid.scale] if grid else [], np.float32)
        zeros = np.array([grid.zero_point] if grid else [], np.int64)
        return self._add(
            DraftTensor(name=name, shape=tuple(shape), dtype=sort, scales=scales, zero_points=zeros)
        )

    def constant(
        self,
        name: str,
        data: Array,
        scales: Array | None = None,
        zero_points: Array | None = None,
        axis: int = 0,
    ) -> int:
        """A tensor that the file stores; one of the same name and numbers is there already."""
        scales = np.zeros(0, np.float32) if scales is None else np.asarray(scales, np.float32)
        zeros = np.zeros(len(scales), np.int64) if zero_points is None else zero_points
        made = DraftTensor(
            name=name,
            shape=tuple(data.shape),
            dtype=str(data.dtype),
            scales=scales,
            zero_points=np.asarray(zeros, np.int64),
            axis=axis,
            data=np.ascontiguousarray(data),
        )
        key = _identity(made)
        if key not in self._constants:
            self._constants[key] = self._add(made)
        return self._constants[key]

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        **options: object,
    ) -> None:
        """Write one."""
        self.operators.append(
            DraftOperator(kind=kind, inputs=tuple(inputs), outputs=tuple(outputs), options=options)
        )

    def with_activation(self, tensor: int, activation: str) -> bool:
        """Let the operator that writes a tensor clip it, if it can and does not yet."""
        for index, operator in enumerate(self.operators):
            if tensor in operator.outputs:
                free = operator.options.get("fusedActivationFunction") == "NONE"
                if operator.kind not in _CLIPPING or not free:
                    return False
                options = {**operator.options, "fusedActivationFunction": activation}
                self.operators[index] = replace(operator, options=options)
                return True
        return False

    def _add(self, tensor: DraftTensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def _identity(constant: DraftTensor) -> tuple[object, ...]:
    arrays = [a for a in (constant.scales, constant.zero_points, constant.data) if a is not None]
    numbers = tuple(array.tobytes() for array in arrays)
    return (constant.name, constant.shape, constant.dtype, constant.axis, *numbers)
