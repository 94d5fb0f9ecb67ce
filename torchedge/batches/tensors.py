"""One value of a batch, as a tensor that the network can be run on."""

import numpy as np
import torch
from torch import Tensor

from torchedge.errors import CalibrationError

__all__ = ["as_tensor", "class_indices", "input_tensor", "require_plain"]

_REDUCED = frozenset({torch.float64, torch.float16, torch.bfloat16})
_WHOLE = frozenset({torch.int8, torch.int16, torch.int32, torch.int64})


def as_tensor(value: object, where: str) -> Tensor:
    """A tensor or array as a tensor without history; float64 of an array becomes float32.

    Args:
        value: What came.
        where: How to call it in a message.

    Raises:
        CalibrationError: It is something else, or has no plain values.

    Example:
        >>> as_tensor(np.zeros(2), "x").dtype
        torch.float32
    """
    if isinstance(value, Tensor):
        require_plain(value, where)
        plain = value.detach().as_subclass(Tensor)
        return plain.clone() if plain.is_inference() else plain
    if not isinstance(value, np.ndarray):
        raise CalibrationError(
            f"{where} is of type {type(value).__name__}, not a tensor; give the inputs alone, for "
            "example (inputs for inputs, _ in loader)."
        )
    native = value.dtype.newbyteorder("=")
    array = value.astype(np.float32 if native == np.float64 else native)
    try:
        return torch.from_numpy(np.ascontiguousarray(array))
    except (TypeError, ValueError) as error:
        raise CalibrationError(
            f"{where} is an array of {value.dtype}, of which no tensor can be made; give float32."
        ) from error


def require_plain(tensor: Tensor, where: str) -> None:
    """Refuse tensors without values, or whose values are no plain numbers.

    Raises:
        CalibrationError: It is on the meta device, sparse, quantised, nested, complex or text.

    Example:
        >>> require_plain(torch.zeros(1), "x")
    """
    faults = {
        "is on the meta device and has no values; give real data": tensor.is_meta,
        "is sparse; give x.to_dense()": tensor.layout is not torch.strided,
        "is quantised already; give x.dequantize()": tensor.is_quantized,
        "is nested; give tensors of one shape": tensor.is_nested,
        "is complex, which no integers stand for; give real and imaginary part as channels, "
        "torch.view_as_real(x)": tensor.is_complex(),
    }
    for fault, holds in faults.items():
        if holds:
            raise CalibrationError(f"{where} {fault}.")


def input_tensor(
    value: object,
    where: str,
    *,
    dtype: torch.dtype | None,
    float_dtype: torch.dtype | None,
    axes: int | None,
    finite: bool = True,
) -> Tensor:
    """What came as an input, in the network's own number format.

    Numbers of another float format are converted, and whole numbers to wider ones. A sample without
    a batch becomes a batch of one.

    Args:
        value: What came.
        where: How to call it in a message.
        dtype: What the network takes, where it is known.
        float_dtype: In which it computes, where it is known.
        axes: Of a batch, where they are known.
        finite: Refuse NaN and infinity.

    Raises:
        CalibrationError: It is no tensor or array, empty, holds NaN or infinity, or whole numbers
            for a network that takes floats.
    """
    tensor = as_tensor(value, where)
    require_plain(tensor, where)  # an array may be complex, too
    if axes is not None and tensor.ndim == axes - 1 and tensor.ndim > 0:
        tensor = tensor.unsqueeze(0)
    if tensor.ndim == 0 or tensor.numel() == 0:
        raise CalibrationError(
            f"{where} of shape {tuple(tensor.shape)} holds no sample; "
            "give at least one, the samples along its first axis."
        )
    if axes is not None and tensor.ndim != axes:
        raise CalibrationError(
            f"{where} has the shape {tuple(tensor.shape)}, and the example inputs have {axes} "
            "axes, the batch first; give both as the network sees them in use."
        )
    converted = _in_format(tensor, where, dtype or float_dtype, known=dtype is not None)
    if finite:
        _require_numbers(converted, where)
    return converted


def _in_format(tensor: Tensor, where: str, dtype: torch.dtype | None, *, known: bool) -> Tensor:
    if dtype is None or tensor.dtype == dtype:
        return tensor
    if tensor.is_floating_point() and dtype.is_floating_point:
        return tensor.to(dtype) if tensor.dtype in _REDUCED else tensor
    if not known:
        return tensor
    if dtype in _WHOLE and tensor.dtype in _WHOLE:
        return tensor.to(dtype)
    scaled = "x.float() / 255 for pixels" if tensor.dtype == torch.uint8 else "x.float()"
    change = scaled if dtype.is_floating_point else f"x.to({dtype})"
    raise CalibrationError(
        f"{where} is {_name(tensor.dtype)}, the network takes {_name(dtype)}; give {change}, "
        "prepared as in training."
    )


def _require_numbers(tensor: Tensor, where: str) -> None:
    unusable = tensor.numel() - int(tensor.isfinite().sum())
    if unusable:
        bad = (~tensor.isfinite()).flatten(1).any(1) if tensor.ndim > 1 else ~tensor.isfinite()
        raise CalibrationError(
            f"{unusable:,} of the {tensor.numel():,} values of {where} are NaN or infinite, in "
            f"{int(bad.sum()):,} of its {len(tensor):,} samples, the first at index "
            f"{int(bad.nonzero()[0])}; check the data."
        )


def class_indices(value: object, count: int) -> Tensor | None:
    """One whole number for each sample, or nothing where there are none.

    Example:
        >>> class_indices([3, 1], 2), class_indices(torch.rand(2, 4), 2)
        (tensor([3, 1]), None)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, list | tuple) and all(type(entry) is int for entry in value):
        value = torch.tensor(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        value = torch.from_numpy(value.astype(np.int64))
    if not isinstance(value, Tensor) or value.dtype not in {*_WHOLE, torch.uint8}:
        return None
    return value.detach().reshape(-1).long() if value.numel() == count else None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
