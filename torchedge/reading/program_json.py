"""The JSON of a ``torch.export`` archive, held against the few things a plain program says."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torchedge.reading.operators import is_tensor_operator
from torchedge.reading.strict_json import canonical_json, strict_json

__all__ = ["checked_json"]

_MOST_NODES, _MOST_VALUES, _MOST_PARTS = 5_000, 8_000, 1_024  # torch takes some ms for each
_MOST = {"nodes": _MOST_NODES, "tensor_values": _MOST_VALUES, "as_tensors": _MOST_PARTS}
_PLAIN_TEXT = re.compile(r"[A-Za-z0-9_.+-]{0,1000}|\[\]")
# What torch.einsum takes as an argument: letters, commas and one arrow call nothing.
_EQUATION = re.compile(r"[A-Za-z., ]{0,200}(->[A-Za-z. ]{0,200})?")
_TREE_SPECS = frozenset({"in_spec", "out_spec"})
_CONTAINERS = frozenset({None, "builtins.dict", "builtins.list", "builtins.tuple"})
_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})
_NAME_MAPS = frozenset({"config", "opset_version", "tensor_values"})
_KEYS = frozenset(
    {
        *("arg", "as_bool", "as_bools", "as_device", "as_float", "as_float_lists", "as_floats"),
        *("as_int", "as_int_lists", "as_ints", "as_layout", "as_memory_format"),
        *("as_nested_tensors", "as_none", "as_optional_tensor", "as_optional_tensors"),
        *("as_scalar_type", "as_string", "as_strings", "as_sym_int", "as_sym_ints", "as_tensor"),
        *("as_tensors", "buffer", "buffer_mutation", "buffer_name", "children_spec", "config"),
        *("constant_input", "context", "device", "dtype", "forward_arg_names", "fqn", "graph"),
        *("graph_module", "in_spec", "index", "input_specs", "inputs", "is_param"),
        *("is_hop_single_tensor_return", "is_single_tensor_return", "kind", "layout", "major"),
        *("metadata", "minor", "module_call_graph", "name", "nodes", "opset_version"),
        *("out_spec", "output_specs", "outputs", "parameter", "parameter_name", "path_name"),
        *("persistent", "requires_grad", "schema_version", "signature", "sizes"),
        *("storage_offset", "strides", "target", "tensor_constant", "tensor_constant_name"),
        *("tensor_meta", "tensor_values", "torch_version", "type", "user_input"),
        *("user_input_mutation", "user_input_name", "user_output", "value", "verifiers"),
    }
)


def checked_json(data: bytes) -> tuple[Any, str]:
    """The tree, and new text of it.

    What has another key than a plain program must be empty there: torch would unpickle, compile or
    evaluate what stands under some, and would under more in its next version.

    Raises:
        ValueError: It is no strict JSON, or says more than a plain program does.
    """
    tree = strict_json(data)
    _require_plain(tree)
    return tree, canonical_json(tree)


def _require_plain(tree: object) -> None:
    nodes = 0
    for holder, key, value in _entries(tree):
        _require_plain_key(holder, key, value)
        if key in _TREE_SPECS and isinstance(value, str):
            _require_plain_tree(strict_json(value))
        elif isinstance(value, str) and not (key == "as_string" and _EQUATION.fullmatch(value)):
            _require_plain_text(value)
        if key == "target":
            nodes += 1
            _require_operator(value)
        most = _MOST.get(key)
        if most is not None and isinstance(value, dict | list) and len(value) > most:
            raise ValueError(f"{len(value):,} entries of '{key}'; {most:,} are the most")
    if nodes > _MOST_NODES:
        raise ValueError(f"a graph of {nodes:,} nodes; {_MOST_NODES:,} are the most")


def _require_plain_key(holder: str, key: str, value: object) -> None:
    _require_plain_text(key)
    if "__" in key and key not in _KEYS and any(p.startswith("__") for p in key.split(".")):
        raise ValueError(f"the name {key[:60]!r} is Python's own")
    empty = value is None or value is False or value in ([], {}, "")
    if holder in _NAME_MAPS and key in _NAME_MAPS:
        raise ValueError(f"something in it is called {key!r}")
    known = key in _KEYS or holder in _NAME_MAPS or key == ""
    if (key == "use_pickle" or not known) and not empty:
        raise ValueError(
            f"it holds '{key}', which torch would unpickle or evaluate, or which is unknown here; "
            "torchedge never does that"
        )
    if key == "type" and holder in {"device", "as_device"} and value not in _DEVICES:
        raise ValueError(f"it is for the device {str(value)[:20]!r}")


def _require_plain_tree(tree: object) -> None:
    """A description of nested tuples, lists and dictionaries."""
    for _, key, value in _entries(tree):
        if key not in {"", "type", "context", "children_spec"}:
            raise ValueError(f"inputs or outputs described by {key[:60]!r}")
        if key == "type" and value not in _CONTAINERS:
            raise ValueError(f"an input or output of type {str(value)[:60]!r}")
        if isinstance(value, str) and key != "type":
            _require_plain_text(value)


def _require_plain_text(text: str) -> None:
    """Because torch writes names from the archive into Python code, which it compiles."""
    if not _PLAIN_TEXT.fullmatch(text):
        raise ValueError(
            f"it holds the name {text[:60]!r}, which torch would compile as code; torchedge never "
            "does that"
        )


def _require_operator(target: object) -> None:
    if not isinstance(target, str) or not is_tensor_operator(target):
        raise ValueError(
            f"it calls {str(target)[:80]!r}, which is no tensor operator of torch or torchedge"
        )


def _entries(tree: object) -> Iterator[tuple[str, str, Any]]:
    """Every value with its key, and the key of the object that it is in; of arrays, no key."""
    pending: list[tuple[str, object]] = [("", tree)]
    while pending:
        holder, node = pending.pop()
        if isinstance(node, Mapping):
            yield from ((holder, key, value) for key, value in node.items())
            pending.extend(node.items())
        elif isinstance(node, list):
            yield from ((holder, "", value) for value in node)
            pending.extend((holder, value) for value in node)
