"""Saving and loading ``torch.export`` programs without ever unpickling or evaluating anything.

``torch.export.load`` falls back to full unpickling for some entries of an archive, calls whatever
torch function a node names, evaluates symbolic expressions, and reads a zip archive in another way
than Python does. So torch never gets the bytes of a file. Every member is read once and checked, a
new archive is written of what was checked, and torch loads that one. Before the program may run on
memory, it runs on shapes.
"""

import io
import re
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from torchedge.errors import ArtifactError, ExportError
from torchedge.reading.archive import read_archive, written_archive
from torchedge.reading.bounds import allowed_bytes
from torchedge.reading.names import one_line
from torchedge.reading.payloads import require_payloads
from torchedge.reading.program_json import checked_json
from torchedge.reading.propagation import require_modest

__all__ = ["load_module", "load_program", "save_program"]

_MEMBERS = re.compile(
    r"(?P<folder>[A-Za-z0-9_.-]+)/(?P<name>"
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)"
    r"|data/weights/weight_\d+|data/weights/model_weights_config\.json"
    r"|data/constants/tensor_\d+|data/constants/model_constants_config\.json"
    r"|data/sample_inputs/model\.pt|models/model\.json"
    r")"
)
_MODEL = "models/model.json"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_PAYLOADS = {
    "data/weights": "data/weights/model_weights_config.json",
    "data/constants": "data/constants/model_constants_config.json",
}
_OUR_FOLDER = "program"


def save_program(model: nn.Module, example_inputs: tuple[Tensor, ...], path: Path) -> None:
    """Capture a module with ``torch.export`` and write it as a ``.pt2`` archive of raw tensors.

    Args:
        model: In evaluation mode.
        example_inputs: Fix the shapes; the batch size is part of them.
        path: Must end in ``.pt2``.

    Raises:
        ExportError: torch.export cannot capture the module.
        ArtifactError: The program has operators or shapes that :func:`load_program` refuses.
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
    _checked_members(path)


def _drop_traces(program: ExportedProgram) -> None:
    """Keep what a node computes and drop where it was written: paths of the machine that trains."""
    for node in program.graph.nodes:
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}


def load_module(path: Path) -> fx.GraphModule:
    """The network of a ``.pt2`` archive, ready to run.

    Raises:
        ArtifactError: As :func:`load_program`.
    """
    program = load_program(path)
    try:
        module = program.module()
    except Exception as error:
        raise ArtifactError(_unreadable(path, error)) from error
    assert isinstance(module, fx.GraphModule)
    return module


def load_program(path: Path) -> ExportedProgram:
    """Read a ``.pt2`` archive that :func:`save_program` could have written.

    Raises:
        ArtifactError: It is damaged; or holds pickles, symbolic expressions or other operators than
            those of tensors; or its tensors are larger than its bytes, or larger in running than
            what a file of its size may take.
    """
    from torchedge.quantization.operator import fake_quantize_operator

    assert fake_quantize_operator is not None  # loading needs the operator to be registered
    members = _checked_members(path)
    file_bytes = sum(map(len, members.values()))
    archive = written_archive({f"{_OUR_FOLDER}/{n}": members.pop(n) for n in list(members)})
    try:
        program = torch.export.load(archive)
        require_modest(program, allowed_bytes(file_bytes))
    except Exception as error:
        raise ArtifactError(_unreadable(path, error)) from error
    return program


def _unreadable(path: Path, error: Exception) -> str:
    return (
        f"torch.export cannot read '{path}': {one_line(error)} Save it again with this "
        f"version of torch ({torch.__version__})."
    )


def _checked_members(path: Path) -> dict[str, bytes]:
    """Members by their names inside the archive's folder, JSON written anew."""
    members: dict[str, bytes] = {}
    folders, trees = set(), {}
    for name, data in read_archive(path):
        folder, inner = _known_member(path, name, data)
        folders.add(folder)
        members[inner] = data
        if inner.endswith(".json"):
            trees[inner], members[inner] = _checked_json(path, name, data)
    if len(folders) != 1 or _MODEL not in members:
        raise ArtifactError(f"'{path}' is no intact torch.export archive: it holds no one program.")
    _require_payloads(path, trees, members)
    return members


def _known_member(path: Path, name: str, data: bytes) -> tuple[str, str]:
    found = _MEMBERS.fullmatch(name)
    if found is None or (found["name"] == _SAMPLE_INPUTS and data):
        raise ArtifactError(
            f"'{path}' holds {name[:80]!a}, which is not raw data and would have to be "
            "unpickled; torchedge never does that. Save the model with CompressedModel.save."
        )
    return found["folder"], found["name"]


def _checked_json(path: Path, name: str, data: bytes) -> tuple[object, bytes]:
    try:
        tree, text = checked_json(data)
    except ValueError as error:
        raise ArtifactError(
            f"'{path}' ({name}) is not loaded: {one_line(error)}. Save the model with "
            "CompressedModel.save."
        ) from error
    return tree, text.encode()


def _require_payloads(path: Path, trees: dict[str, object], members: dict[str, bytes]) -> None:
    try:
        for folder, config in _PAYLOADS.items():
            require_payloads(trees[config], folder, members)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"'{path}' is not loaded: {one_line(error)}; save the model with CompressedModel.save."
        ) from error
