"""Between an artefact and the plain values of its manifest, with a digest over their meaning."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torchedge.errors import ArtifactError, UsageError
from torchedge.exporting.normalisation import Normalisation
from torchedge.exporting.records import Artifact, FileRecord, Format, TensorSpec
from torchedge.reading.names import (
    require_file_name,
    require_model_name,
    require_text,
    what_is_wrong_with_text,
)
from torchedge.reading.plain import (
    as_mapping,
    as_number,
    as_sha256,
    as_text,
    as_whole,
    each,
)
from torchedge.reading.strict_json import canonical_json, strict_json
from torchedge.scheme import QuantScheme
from torchedge.version import __version__

__all__ = ["MANIFEST", "MANIFEST_VERSION", "from_plain", "require_printable", "sealed"]

MANIFEST = "manifest.json"
MANIFEST_VERSION = 2
_MOST_FILES = 5_000
_MOST_BYTES = 8 * 2**30
_MOST_AXES = 16
_MOST_ELEMENTS = 2**40
_LONGEST_DETAIL = 2**20


def sealed(artifact: Artifact) -> tuple[Artifact, dict[str, Any]]:
    """The artefact with its digest, and the manifest's plain values.

    Raises:
        UsageError: A name is none, or a value is nothing that JSON can hold.
    """
    require_printable(artifact)
    try:
        plain = strict_json(canonical_json(_to_plain(artifact)))
    except (TypeError, ValueError) as error:
        raise UsageError(f"the manifest of '{artifact.name}' is not written: {error}.") from error
    plain["sha256"] = _digest(plain)
    return replace(artifact, sha256=plain["sha256"], details=plain["details"]), plain


def _digest(plain: Mapping[str, Any]) -> str:
    """Over all that the manifest says, but this."""
    meaning = {key: value for key, value in plain.items() if key != "sha256"}
    return hashlib.sha256(canonical_json(meaning).encode()).hexdigest()


def _to_plain(artifact: Artifact) -> dict[str, Any]:
    return {
        "manifest_version": MANIFEST_VERSION,
        "torchedge": __version__,
        "name": artifact.name,
        "class_names": list(artifact.class_names),
        "format": artifact.format,
        "made_by": list(artifact.made_by),
        "inputs": [asdict(spec) for spec in artifact.inputs],
        "outputs": [asdict(spec) for spec in artifact.outputs],
        "scheme": None if artifact.scheme is None else artifact.scheme.to_dict(),
        "metrics": dict(artifact.metrics),
        "details": dict(artifact.details),
        "normalisation": None if artifact.normalisation is None else asdict(artifact.normalisation),
        "files": {name: asdict(record) for name, record in artifact.files.items()},
        "sha256": artifact.sha256,
    }


def from_plain(folder: Path, plain: object) -> Artifact:
    """Rebuild an artefact; nothing is converted, and what is missing is not made up.

    Raises:
        ArtifactError: It is of another version, or its digest is not that of what it says, or a
            name in it is none.
        UsageError: Likewise.
        KeyError: A field is missing.
        TypeError: A field is of another type.
        ValueError: A number is outside of what it can be.
    """
    values = as_mapping(plain)
    if values["manifest_version"] != MANIFEST_VERSION:
        raise ArtifactError(
            f"'{folder / MANIFEST}' is not a manifest of version {MANIFEST_VERSION} but of "
            f"{ascii(values['manifest_version'])[:20]}; export the model again."
        )
    artifact = _artifact(folder, values)
    require_printable(artifact)
    if _digest(values) != artifact.sha256:
        raise ArtifactError(
            f"'{folder / MANIFEST}' was edited: what it says does not match its own digest; "
            "export the model again."
        )
    return artifact


def _artifact(folder: Path, plain: Mapping[str, Any]) -> Artifact:
    scheme, normalisation = plain["scheme"], plain["normalisation"]
    metrics = as_mapping(plain["metrics"])
    return Artifact(
        path=folder,
        format=Format(as_text(plain["format"])),
        inputs=each(plain["inputs"], _tensor_spec),
        outputs=each(plain["outputs"], _tensor_spec),
        made_by=each(plain["made_by"], as_text),
        sha256=as_sha256(plain["sha256"]),
        name=as_text(plain["name"]),
        class_names=each(plain["class_names"], as_text),
        scheme=None if scheme is None else QuantScheme.from_dict(as_mapping(scheme)),
        metrics={name: as_number(value) for name, value in metrics.items()},
        details=as_mapping(plain["details"]),
        files=_files(as_mapping(plain["files"])),
        normalisation=(
            None if normalisation is None else Normalisation.from_dict(as_mapping(normalisation))
        ),
    )


def _files(plain: Mapping[str, Any]) -> dict[str, FileRecord]:
    records = {require_file_name(name): _file_record(record) for name, record in plain.items()}
    total = sum(record.bytes for record in records.values())
    if len(records) > _MOST_FILES or total > _MOST_BYTES:
        raise ValueError(
            f"{len(records):,} files with {total:,} bytes; {_MOST_FILES:,} files with "
            f"{_MOST_BYTES:,} bytes are the most"
        )
    if len({name.casefold() for name in (*records, MANIFEST)}) != len(records) + 1:
        raise ValueError("two files whose names differ in case only")
    return records


def _file_record(plain: object) -> FileRecord:
    values = as_mapping(plain)
    kept_in = as_text(values["kept_in"])
    if kept_in:
        require_model_name(kept_in)
    return FileRecord(as_whole(values["bytes"]), as_sha256(values["sha256"]), kept_in)


def _tensor_spec(plain: object) -> TensorSpec:
    values = as_mapping(plain)
    scale, zero_point = values["scale"], values["zero_point"]
    shape = each(values["shape"], as_whole, most=_MOST_AXES)
    elements = 1
    for size in shape:
        elements *= max(size, 1)
    if elements > _MOST_ELEMENTS:
        raise ValueError(f"a tensor of {elements:,} elements")
    return TensorSpec(
        as_text(values["name"]),
        shape,
        as_text(values["dtype"]),
        None if scale is None else as_number(scale),
        None if zero_point is None else as_whole(zero_point, least=-(2**31), most=2**31),
    )


def require_printable(artifact: Artifact) -> None:
    """Refuse names that are paths, and words that a terminal would obey.

    Raises:
        UsageError: There is one.
    """
    require_model_name(artifact.name)
    for name in artifact.class_names:
        require_text("a class", name)
    for spec in (*artifact.inputs, *artifact.outputs):
        require_text("a tensor", spec.name)
        require_text("a number format", spec.dtype)
    for step in (artifact.format, *artifact.made_by):
        require_text("a step", step)
    for name in artifact.metrics:
        require_text("a metric", name)
    for text in _texts(artifact.details):
        if wrong := what_is_wrong_with_text(text, longest=_LONGEST_DETAIL, also="\n\t"):
            raise UsageError(f"a detail in the manifest, {text[:60]!a}, {wrong}.")


def _texts(tree: object) -> Iterator[str]:
    """Every text of a tree of plain values, keys included, however deep it is."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, str):
            yield node
        pending += _inside(node)


def _inside(node: object) -> list[object]:
    if isinstance(node, Mapping):
        return [*node, *node.values()]
    return list(node) if isinstance(node, list | tuple) else []
