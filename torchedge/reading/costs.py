"""How much work an operator is, from the shapes of what it reads and writes."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import flop_registry

__all__ = ["operations", "require_few_parts", "tensors_in"]

_PER_ELEMENT = 20  # what reading or writing one takes, in multiplications
_MOST_PARTS = 1_024
_MOST_STEPS = 65_536
_CUBIC = re.compile(r"linalg|cholesky|svd|qr|matrix_exp|lu_|triangular|dist|attention|addbmm")
_POOLS = re.compile(r"(avg|max)_pool\dd")
_RECURRENT = re.compile(r"^(lstm|gru|rnn_tanh|rnn_relu)$")
_CUTS = frozenset({"tensor_split", "hsplit", "vsplit", "dsplit"})


def tensors_in(value: object) -> tuple[Tensor, ...]:
    """All tensors of nested tuples and lists.

    Example:
        >>> len(tensors_in(1))
        0
    """
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, tuple | list):
        return tuple(tensor for part in value for tensor in tensors_in(part))
    return ()


def operations(
    func: Any,  # noqa: ANN401
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    result: object,
) -> int:
    """Multiplications of one call, or what takes as long.

    Args:
        func: An operator of torch.
        args: What it is called with; tensors need no memory.
        kwargs: Likewise.
        result: What it returned.
    """
    read, name = tensors_in((*args, *kwargs.values())), func._schema.name.split("::")[-1]
    elements = sum(math.prod(tensor.shape) for tensor in (*read, *tensors_in(result)))
    counted = flop_registry.get(func._overloadpacket)
    found = _PER_ELEMENT * elements
    if counted is not None:
        return found + int(counted(*args, **kwargs, out_val=result))
    if _CUBIC.search(name):
        return found + elements * max((n for tensor in read for n in tensor.shape), default=1)
    if _POOLS.search(name) and "adaptive" not in name and len(args) > 1:
        window = args[1] if isinstance(args[1], list | tuple) else [args[1]]
        return found + elements * math.prod(map(int, window))
    return found


def require_few_parts(func: Any, args: Sequence[Any]) -> int:  # noqa: ANN401
    """Before an operator makes an object for each part or step; returns what recurrence costs.

    Raises:
        ValueError: It would make more than any network has.
    """
    name = func._schema.name.split("::")[-1] if hasattr(func, "_schema") else ""
    if name in {"unbind", "split"}:
        _require_parts(_parts(name, args))
    if name in _CUTS:
        _require_parts(max((int(x) for x in args[1:] if isinstance(x, int)), default=0))
    if _RECURRENT.match(name):
        steps = max(args[0].shape, default=1)
        if steps > _MOST_STEPS:
            raise ValueError(f"a recurrence of {steps:,} steps; {_MOST_STEPS:,} are the most")
        return steps * sum(math.prod(tensor.shape) for tensor in tensors_in(args[1:]))
    return 0


def _parts(name: str, args: Sequence[Any]) -> int:
    axis = args[{"unbind": 1, "split": 2}[name] :][:1]
    shape = args[0].shape
    length = int(shape[axis[0] if axis else 0]) if shape else 1
    size = args[1] if name == "split" else 1
    return len(size) if isinstance(size, list | tuple) else math.ceil(length / max(int(size), 1))


def _require_parts(parts: int) -> None:
    if parts > _MOST_PARTS:
        raise ValueError(f"a tensor is cut into {parts:,} parts; {_MOST_PARTS:,} are the most")
