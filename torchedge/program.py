"""Saving and loading ``torch.export`` programs without ever unpickling or evaluating anything.

``torch.export.load`` falls back to full unpickling for some entries of an archive, calls whatever
torch function a node names, and evaluates symbolic expressions. So an archive is read as data
first, and only one that holds nothing but raw tensors, static shapes and known operators goes to
torch.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from torchedge.errors import ArtifactError, ExportError

__all__ = ["load_program", "save_program"]

_ENTRIES = re.compile(
    r"[^/]+/("
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)"
    r"|data/weights/weight_\d+|data/weights/model_weights_config\.json"
    r"|data/constants/tensor_\d+|data/constants/model_constants_config\.json"
    r"|data/sample_inputs/model\.pt|models/model\.json"
    r")"
)
_OPERATORS = re.compile(r"torch\.ops\.(aten|torchedge)\.(?!from_file)\w+\.\w+|_operator\.getitem")
_PLAIN_TEXT = re.compile(r"[A-Za-z0-9_.+-]*|\[\]")
# What torch.einsum takes as an argument: letters, commas and one arrow call nothing.
_EQUATION = re.compile(r"[A-Za-z., ]+(->[A-Za-z. ]*)?")
_TREE_SPECS = {"in_spec", "out_spec"}
_EVALUATED_KEYS = {
    "as_custom_obj",
    "as_expr",
    "as_operator",
    "expr_str",
    "guards_code",
    "range_constraints",
    "treespec_namedtuple_fields",
}


def save_program(model: nn.Module, example_inputs: tuple[Tensor, ...], path: Path) -> None:
    """Capture a module with ``torch.export`` and write it as a ``.pt2`` archive of raw tensors.

    Args:
        model: In evaluation mode.
        example_inputs: Fix the shapes; the batch size is part of them.
        path: Must end in ``.pt2``.

    Raises:
        ExportError: torch.export cannot capture the module.
    """
    try:
        program = torch.export.export(model, example_inputs)
    except Exception as error:
        raise ExportError(
            f"torch.export cannot capture {type(model).__name__}: {str(error).splitlines()[0]} "
            "Remove control flow that depends on tensor values."
        ) from error
    program.example_inputs = None  # they would be stored as a pickle
    _drop_traces(program)
    archive = io.BytesIO()  # in memory, because torch aborts the process when the disk is full
    torch.export.save(program, archive)
    path.write_bytes(archive.getvalue())
    _require_plain(path)


def _drop_traces(program: ExportedProgram) -> None:
    """Keep what a node computes and drop where it was written: paths of the machine that trains."""
    for node in program.graph.nodes:
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}


def load_program(path: Path) -> ExportedProgram:
    """Read a ``.pt2`` archive that :func:`save_program` could have written.

    Raises:
        ArtifactError: It is damaged, or holds pickles, symbolic expressions or other operators.
    """
    from torchedge.quantization.operator import fake_quantize_operator

    assert fake_quantize_operator is not None  # loading needs the operator to be registered
    _require_plain(path)
    try:
        return torch.export.load(path)
    except Exception as error:
        raise ArtifactError(
            f"torch.export cannot read '{path}': {str(error).splitlines()[0]} Save it again with "
            f"this version of torch ({torch.__version__})."
        ) from error


def _require_plain(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                _require_known_entry(path, entry)
            for name in filter(_is_json, archive.namelist()):
                _require_plain_json(path, name, json.loads(archive.read(name)))
    except (zipfile.BadZipFile, ValueError, KeyError, NotImplementedError) as error:
        raise ArtifactError(
            f"'{path}' is no intact torch.export archive ({error}); save the model again."
        ) from error


def _is_json(name: str) -> bool:
    return name.endswith(".json")


def _require_known_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    pickled_inputs = entry.filename.endswith("sample_inputs/model.pt") and entry.file_size
    if not _ENTRIES.fullmatch(entry.filename) or pickled_inputs:
        raise ArtifactError(
            f"'{path}' holds '{entry.filename}', which is not raw data and would have to be "
            "unpickled; torchedge never does that. Save the model with CompressedModel.save."
        )


def _require_plain_json(path: Path, name: str, tree: Any) -> None:  # noqa: ANN401
    for key, value in _items(tree):
        _require_plain_text(path, name, key)
        if key in _TREE_SPECS and isinstance(value, str):
            _require_plain_json(path, name, json.loads(value))
        elif isinstance(value, str) and not (key == "as_string" and _EQUATION.fullmatch(value)):
            _require_plain_text(path, name, value)
        evaluated = key in _EVALUATED_KEYS and value not in (None, [], {}, "")
        operator = key == "target" and isinstance(value, str) and "." in value
        if (key == "use_pickle" and value) or evaluated:
            raise ArtifactError(
                f"'{path}' ({name}) holds '{key}', which torch would unpickle or evaluate; "
                "torchedge never does that. Save the model with CompressedModel.save."
            )
        if operator and not _OPERATORS.fullmatch(value):
            raise ArtifactError(
                f"'{path}' ({name}) calls '{value}', which is no tensor operator of torch or "
                "torchedge, so it is not loaded."
            )


def _require_plain_text(path: Path, name: str, text: str) -> None:
    """Because torch writes names from the archive into Python code, which it compiles."""
    if not _PLAIN_TEXT.fullmatch(text):
        raise ArtifactError(
            f"'{path}' ({name}) holds the name {text[:60]!r}, which torch would compile as code; "
            "torchedge never does that. Save the model with CompressedModel.save."
        )


def _items(tree: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield from node.items()
            pending.extend(node.values())
        elif isinstance(node, list):
            yield from (("", value) for value in node if isinstance(value, str))
            pending.extend(node)
