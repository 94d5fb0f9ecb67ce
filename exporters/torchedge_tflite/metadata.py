"""What a .tflite file says about itself: class names, normalisation, and what it was made from.

As TensorFlow Lite's metadata does with label files, a ZIP archive follows the network's bytes; a
runtime does not look at it, and ``unzip model.tflite`` shows it.
"""

import io
import json
import zipfile
from dataclasses import asdict
from typing import Any

from torchedge.errors import ArtifactError
from torchedge.exporting.artifact import Artifact

__all__ = ["ABOUT_FILE", "LABELS_FILE", "read_embedded", "with_embedded", "without_embedded"]

LABELS_FILE, ABOUT_FILE = "labels.txt", "torchedge.json"
_MOST_BYTES = 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes on every day


def with_embedded(data: bytes, source: Artifact) -> bytes:
    """The file's bytes, followed by what is known of it.

    Args:
        data: A .tflite file.
        source: What it was made from; the hash over its files goes in, since the manifest of the
            file itself holds the file's own hash.

    Example:
        >>> from pathlib import Path
        >>> source = Artifact(path=Path(), format="onnx", inputs=(), outputs=(), made_by=())
        >>> read_embedded(with_embedded(b"network", source))["name"]
        'model'
    """
    about = {
        "name": source.name,
        "made_from": {"format": source.format, "sha256": source.sha256},
        "class_names": list(source.class_names),
        "normalisation": None if source.normalisation is None else asdict(source.normalisation),
    }
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a") as archive:
        names = "".join(f"{name}\n" for name in source.class_names)
        archive.writestr(zipfile.ZipInfo(LABELS_FILE, _EPOCH), names)
        archive.writestr(zipfile.ZipInfo(ABOUT_FILE, _EPOCH), json.dumps(about))
    return stream.getvalue()


def read_embedded(data: bytes) -> dict[str, Any]:
    """What :func:`with_embedded` put behind a network.

    Raises:
        ArtifactError: There is nothing behind it, or more than a description.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if archive.getinfo(ABOUT_FILE).file_size > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES:,} bytes")
            found: dict[str, Any] = json.loads(archive.read(ABOUT_FILE))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ArtifactError(
            f"{len(data):,} bytes without torchedge's metadata ({error}); export the model again."
        ) from error
    return found


def without_embedded(data: bytes) -> bytes:
    """The network's bytes alone, for a device whose flash is small.

    Example:
        >>> without_embedded(b"a network without metadata")
        b'a network without metadata'
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            begins = (info.header_offset for info in archive.infolist())
            return data[: min(begins, default=len(data))]
    except zipfile.BadZipFile:
        return data
