"""Which operators a saved program may call: those that compute tensors from tensors and numbers.

The list follows from torch's own schemas, so that it knows each version's operators:

- all arguments are tensors, numbers, lists of both, number formats, layouts or devices; of texts
  only those that choose a way of computing, such as a rounding mode. So no operator has a path, a
  storage, a stream or a generator;
- the result is tensors. An operator that changes its first argument in place is among them where it
  is the variant of one that does not;
- its name is public. Private ones are not written for arguments that nobody checked; the few that
  ``torch.export`` writes are named here;
- it is of dense tensors: names of sparse, nested and quantised tensors, of single libraries'
  kernels, of backward passes, of memory that was not filled, and of operators whose loops follow a
  number rather than a shape are left out.

The state of torch's own random numbers is the one thing outside that some of them change.
"""

import re
from functools import lru_cache

import torch

__all__ = ["is_tensor_operator"]

_TARGET = re.compile(r"torch\.ops\.(aten|torchedge)\.([A-Za-z]\w*|_\w+)\.(\w+)")
_ITEM = "_operator.getitem"
_OWN = frozenset({"fake_quantize"})
_PRIVATE = frozenset(
    {
        "_adaptive_avg_pool2d",
        "_adaptive_avg_pool3d",
        "_assert_tensor_metadata",
        "_log_softmax",
        "_native_batch_norm_legit_no_training",
        "_native_multi_head_attention",
        "_reshape_alias",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_softmax",
        "_to_copy",
        "_transformer_encoder_layer_fwd",
        "_unsafe_view",
        "_upsample_bicubic2d_aa",
        "_upsample_bilinear2d_aa",
        "_upsample_nearest_exact1d",
        "_upsample_nearest_exact2d",
        "_upsample_nearest_exact3d",
        "_weight_norm",
    }
)
_NOT_DENSE = re.compile(
    r"backward|sparse|coalesce|_coo|_cs[rc]|nested|jagged|quantize|fbgemm|mkl|cudnn|miopen|cuda"
    r"|conv_tbc|^bilinear$|slow_|thnn|linalg__|_jvp|overrideable|dense_tensors|depthwise3d|choose_|^batch_norm_"
    r"|unsafe|storage|resize|empty|ctc_loss|segment_reduce|polynomial|from_file|pin_memory|stream"
    r"|^(as_strided_|cpu|data|set|sorted|tensor|save|retain_grad|requires_grad|values|crow_indices|col_indices)_?$"
)
_TYPES = re.compile(
    r"(Optional\[)?(List\[)?(Optional\[)?(Tensor|int|float|bool|number|complex|Device)\]*"
)
_CHOICES = frozenset(
    {
        *("UPLO", "approximate", "driver", "equation", "indexing", "interpolation", "mode", "norm"),
        *("ord", "pad_mode", "padding", "padding_side", "reduce", "rounding_mode", "side"),
    }
)
_TEXTS = frozenset({"str", "Optional[str]"})
_RESULTS = frozenset({"Tensor", "List[Tensor]"})


@lru_cache(maxsize=4096)
def is_tensor_operator(target: str) -> bool:
    """Whether a node of a program may have this target.

    Args:
        target: As ``torch.export`` writes it.

    Example:
        >>> is_tensor_operator("torch.ops.aten.relu_.default")
        True
        >>> is_tensor_operator("torch.ops.aten.from_file.default")
        False
    """
    if target == _ITEM:
        return True
    found = _TARGET.fullmatch(target)
    if found is None:
        return False
    namespace, name, overload = found.groups()
    if namespace == "torchedge":
        return name in _OWN and overload == "default"
    if (name.startswith("_") and name not in _PRIVATE) or (
        name not in _PRIVATE and _NOT_DENSE.search(name)
    ):
        return False
    schema = _schema(name, overload)
    return schema is not None and _is_pure(name, schema)


def _schema(name: str, overload: str) -> torch.FunctionSchema | None:
    packet = getattr(torch.ops.aten, name, None)
    if packet is None or overload not in packet.overloads():
        return None
    schema: torch.FunctionSchema = getattr(packet, overload)._schema
    return schema


def _is_pure(name: str, schema: torch.FunctionSchema) -> bool:
    results = {str(result.type) for result in schema.returns}
    if not results <= _RESULTS or (not results and name not in _PRIVATE):
        return False
    if not all(_is_plain(argument) for argument in schema.arguments):
        return False
    written = [a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write]
    return not written or (written == ["self"] and _has_twin(name, schema))


def _is_plain(argument: "torch.Argument") -> bool:
    kind = str(argument.type)
    return argument.name in _CHOICES if kind in _TEXTS else bool(_TYPES.fullmatch(kind))


def _has_twin(name: str, schema: torch.FunctionSchema) -> bool:
    """Whether an operator does the same without writing into its argument."""
    return name.endswith("_") and hasattr(torch.ops.aten, name[:-1]) and len(schema.returns) == 1
