"""Open sizes of a network's inputs, fixed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from torchedge.errors import UsageError

if TYPE_CHECKING:
    import onnx

__all__ = ["Input", "inputs_of", "parsed_sizes", "shown", "with_shapes"]


@final
@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of a network.

    Args:
        name: In the file.
        sizes: The batch first; ``None`` where a size is open.
        dtype: Numpy's name of the type.
    """

    name: str
    sizes: tuple[int | None, ...]
    dtype: str

    @property
    def is_fixed(self) -> bool:
        """Whether only the batch is open, if anything is."""
        return None not in self.sizes[1:]


def inputs_of(
    path: Path, model: "onnx.ModelProto", sizes: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[Input, ...]:
    """The inputs that a caller gives; a size that is absent, named, zero or -1 is open.

    Args:
        path: For texts.
        model: The file.
        sizes: By name, the sizes of one sample; fix what is open. Of a network with one input the
            name may be empty.

    Raises:
        UsageError: There is no input of that name, or its fixed sizes are others.
    """
    from torchedge_onnx.graph import real_inputs

    found = tuple(_input(value) for value in real_inputs(model))
    wanted = dict(sizes or {})
    if "" in wanted and len(found) == 1:
        wanted = {found[0].name: wanted[""]}
    names = [each.name for each in found]
    if unknown := [name for name in wanted if name not in names]:
        raise UsageError(
            f"'{path}' has no input '{unknown[0]}' but {', '.join(names)}; write "
            f"--input-size {names[0] if names else 'NAME'}=3x32x32."
        )
    return tuple(_fixed(path, each, wanted.get(each.name)) for each in found)


def _input(value: "onnx.ValueInfoProto") -> Input:
    from onnx import helper

    kind = value.type.tensor_type
    return Input(
        name=value.name,
        sizes=tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim),
        dtype=str(helper.tensor_dtype_to_np_dtype(kind.elem_type)) if kind.elem_type else "",
    )


def _fixed(path: Path, found: Input, wanted: tuple[int, ...] | None) -> Input:
    if wanted is None:
        return found
    own = found.sizes or (None,) * (len(wanted) + 1)
    pairs = zip(own[1:], wanted, strict=False)
    if len(own) != len(wanted) + 1 or any(size not in {None, given} for size, given in pairs):
        raise UsageError(
            f"input '{found.name}' of '{path}' is {shown(own)}, the first the batch, and "
            f"--input-size says {'x'.join(map(str, wanted))}; give every size but the batch."
        )
    return Input(name=found.name, sizes=(own[0], *wanted), dtype=found.dtype)


def shown(sizes: Sequence[int | None]) -> str:
    """A shape with question marks for open sizes.

    Example:
        >>> shown((None, 3, 32))
        '[?, 3, 32]'
    """
    return f"[{', '.join('?' if size is None else str(size) for size in sizes)}]"


def parsed_sizes(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """What ``--input-size`` says: sizes, or an input's name, an equals sign and sizes.

    Raises:
        UsageError: A text has another form.

    Example:
        >>> parsed_sizes(["3x32x32"]), parsed_sizes(["image=3x32x32", "words=128"])
        ({'': (3, 32, 32)}, {'image': (3, 32, 32), 'words': (128,)})
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        if not re.fullmatch(r"[1-9]\d{0,8}([x,][1-9]\d{0,8})*", sizes, re.ASCII) or name in found:
            raise UsageError(
                f"'--input-size {text}' is no size; write 3x32x32, or NAME=3x32x32 once for each "
                "of several inputs, without the batch."
            )
        found[name] = tuple(int(size) for size in re.split("[x,]", sizes))
    return found


def with_shapes(
    model: "onnx.ModelProto", shapes: Mapping[str, Sequence[int | None]]
) -> "onnx.ModelProto":
    """A copy whose inputs have these shapes; sizes that follow from open ones are inferred again.

    Args:
        model: The graph.
        shapes: By name of the input; ``None`` leaves a size as it is.
    """
    import onnx

    from torchedge_onnx.graph import copied, real_inputs

    copy = copied(model)
    changed = [_set_shape(v, shapes[v.name]) for v in real_inputs(copy) if v.name in shapes]
    if not any(changed):
        return copy
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(copy)


def _set_shape(value: "onnx.ValueInfoProto", shape: Sequence[int | None]) -> bool:
    dims = value.type.tensor_type.shape.dim
    before = [dim.dim_value for dim in dims]
    while len(dims) < len(shape):
        dims.add()
    for dim, size in zip(dims, shape, strict=True):
        if size is not None:
            dim.dim_value = size
        elif dim.dim_value <= 0 and not dim.dim_param:
            dim.Clear()
    return before != [dim.dim_value for dim in dims]
