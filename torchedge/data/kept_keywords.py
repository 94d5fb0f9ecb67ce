"""Clips that stay on disk from run to run, sealed like every artefact."""

from pathlib import Path

from torch import Tensor

from torchedge.data.keywords import KeywordParts, KeywordSet
from torchedge.errors import ArtifactError
from torchedge.exporting.artifact import Artifact, Format, load_artifact, write_artifact
from torchedge.exporting.pipeline import staged_folder
from torchedge.reading.tensors import read_tensors

__all__ = ["PARTS", "keep_parts", "kept_parts"]

PARTS = ("train", "validation", "test")
_FORMAT, _FILE = Format("keywords"), "clips.safetensors"


def keep_parts(parts: KeywordParts, place: Path, fingerprint: str) -> None:
    """Write clips and labels of all parts.

    Args:
        parts: What to keep.
        place: New folder; it appears only when everything is written.
        fingerprint: Says what they were made from.

    Raises:
        OutputExistsError: The folder exists.
        StorageError: The disk refuses the files.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name in PARTS:
        part: KeywordSet = getattr(parts, name)
        tensors |= {f"{name}.features": part.features.contiguous(), f"{name}.labels": part.labels}
    with staged_folder(place) as staging:
        save_file(tensors, staging / _FILE)
        write_artifact(
            Artifact(
                path=staging,
                format=_FORMAT,
                inputs=(),
                outputs=(),
                made_by=(__name__,),
                details={"made_from": fingerprint},
            )
        )


def kept_parts(place: Path, fingerprint: str) -> KeywordParts:
    """Read what :func:`keep_parts` wrote.

    Args:
        place: Its folder.
        fingerprint: As it was given.

    Raises:
        ArtifactError: The files are damaged, or were made from something else.
    """
    artifact = load_artifact(place)
    if artifact.details.get("made_from") != fingerprint:
        raise ArtifactError(
            f"'{place}' holds clips of other settings; remove it to make them anew."
        )
    found = read_tensors(artifact.file(_FILE))
    missing = [f"{n}.{what}" for n in PARTS for what in ("features", "labels")]
    missing = [name for name in missing if name not in found]
    if missing:
        raise ArtifactError(f"'{place}' holds no {missing[0]}; remove it to make the clips anew.")
    train, validation, test = (
        KeywordSet(features=found[f"{name}.features"], labels=found[f"{name}.labels"])
        for name in PARTS
    )
    return KeywordParts(train=train, validation=validation, test=test)
