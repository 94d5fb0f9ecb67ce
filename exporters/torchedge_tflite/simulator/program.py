"""Running a whole .tflite file, operator by operator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

from torchedge.bench.session import Array
from torchedge.errors import ArtifactError, ExportError
from torchedge_tflite.flatbuffer import FlatModel, Operator
from torchedge_tflite.simulator import curves, moves, pairs, pools, weighted
from torchedge_tflite.simulator.call import Call

__all__ = ["Simulator", "unknown_operators"]

_Kernel: TypeAlias = Callable[[Call], Array | tuple[Array, ...]]

_KERNELS: Mapping[str, _Kernel] = {
    "ADD": pairs.added,
    "AVERAGE_POOL_2D": pools.average_pool,
    "CONCATENATION": moves.concatenated,
    "CONV_2D": weighted.convolution,
    "DEPTHWISE_CONV_2D": weighted.depthwise_convolution,
    "DEPTH_TO_SPACE": moves.depth_to_space,
    "EXPAND_DIMS": moves.unchanged,
    "FULLY_CONNECTED": weighted.fully_connected,
    "HARD_SWISH": curves.hard_swish,
    "LEAKY_RELU": curves.leaky_relu,
    "LOGISTIC": curves.logistic,
    "MAX_POOL_2D": pools.max_pool,
    "MEAN": pools.mean,
    "MUL": pairs.multiplied,
    "PAD": moves.padded,
    "PADV2": moves.padded,
    "QUANTIZE": pairs.requantized,
    "RELU": pairs.rectified,
    "RELU6": pairs.rectified_below_six,
    "RESHAPE": moves.unchanged,
    "RESIZE_BILINEAR": moves.resized_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": moves.resized_nearest,
    "SLICE": moves.sliced,
    "SOFTMAX": curves.softmax,
    "SPACE_TO_DEPTH": moves.space_to_depth,
    "SPLIT": moves.split,
    "SQUEEZE": moves.unchanged,
    "STRIDED_SLICE": moves.strided,
    "SUB": pairs.subtracted,
    "TANH": curves.tanh,
    "TRANSPOSE": moves.transposed,
}


def unknown_operators(flat: FlatModel) -> tuple[str, ...]:
    """Operators of a file that the simulator does not compute, each once.

    One that reads or writes anything but int8, beside constants and shapes, is among them.

    Example:
        >>> unknown_operators(FlatModel(tensors=(), operators=(), inputs=(), outputs=()))
        ()
    """
    return tuple(sorted({op.name for op in flat.operators if not _is_known(op, flat)}))


def _is_known(operator: Operator, flat: FlatModel) -> bool:
    touched = [flat.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
    computed = all(t.dtype == "int8" for t in touched if t.values is None)
    return operator.name in _KERNELS and computed


@final
@dataclass(frozen=True)
class Simulator:
    """An int8 file as TensorFlow Lite Micro's reference and CMSIS-NN kernels compute it.

    Its results equal those of the package tflite-micro, integer by integer, for every operator that
    :func:`unknown_operators` does not name. LiteRT's XNNPACK rounds products once instead of twice
    and differs by one step now and then.

    Args:
        flat: The file, from ``read_model``.
    """

    flat: FlatModel

    def __post_init__(self) -> None:
        """Refuse what would not be simulated.

        Raises:
            ExportError: An operator is unknown; the text has them all.
        """
        if unknown := unknown_operators(self.flat):
            raise ExportError(
                f"the integer simulator knows no int8 {', '.join(unknown)}; run the file in LiteRT "
                "or tflite-micro instead."
            )

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Integers in, integers out, in TFLite's layout.

        Raises:
            ArtifactError: An input has another shape than the file says.
        """
        arrays = self.every_tensor(*inputs)
        return tuple(arrays[index] for index in self.flat.outputs)

    def every_tensor(self, *inputs: Array) -> dict[int, Array]:
        """What each tensor of the file holds after a run, constants included, by index.

        Raises:
            ArtifactError: An input has another shape than the file says.
        """
        tensors = self.flat.tensors
        arrays = {t.index: t.values for t in tensors if t.values is not None}
        for index, array in zip(self.flat.inputs, inputs, strict=True):
            if array.shape != tensors[index].shape:
                raise ArtifactError(
                    f"input '{tensors[index].name}' has shape {tensors[index].shape} in the file, "
                    f"and {array.shape} was given; give channels last."
                )
            arrays[index] = array
        for operator in self.flat.operators:
            result = _KERNELS[operator.name](self._call(operator, arrays))
            results = result if isinstance(result, tuple) else (result,)
            arrays.update(zip(operator.outputs, results, strict=True))
        return arrays

    def _call(self, operator: Operator, arrays: Mapping[int, Array]) -> Call:
        return Call(
            name=operator.name,
            options=dict(operator.options),
            inputs=tuple(self.flat.tensors[i] if i >= 0 else None for i in operator.inputs),
            outputs=tuple(self.flat.tensors[i] for i in operator.outputs),
            arrays=tuple(arrays[i] if i >= 0 else None for i in operator.inputs),
        )
