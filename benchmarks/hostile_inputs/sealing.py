"""Making a spoiled artefact's manifest match again: hashes show damage, not intent."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["ManifestChange", "edited_manifest", "resealed"]

ManifestChange: TypeAlias = Callable[[dict[str, Any]], None]
_MANIFEST = "manifest.json"


def resealed(folder: Path) -> Path:
    """Write sizes and hashes of all listed files anew, and the digest over the manifest."""
    return edited_manifest(folder, lambda manifest: None)


def edited_manifest(folder: Path, change: ManifestChange) -> Path:
    """Change a manifest and seal it again, as if it had been written so."""
    path = folder / _MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        for name, record in manifest["files"].items():
            file = folder / name
            if file.is_file():
                data = file.read_bytes()
                record.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        change(manifest)
        meaning = {key: value for key, value in manifest.items() if key != "sha256"}
        manifest["sha256"] = hashlib.sha256(_canonical(meaning).encode()).hexdigest()
        path.write_text(json.dumps(manifest), encoding="utf-8")
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        pass  # it was spoiled beyond that
    return folder


def _canonical(tree: object) -> str:
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
