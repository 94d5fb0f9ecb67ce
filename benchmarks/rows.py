"""What every benchmark of several networks does: rows of each, printed and written as they come."""

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["quiet_with_converter", "rows_of_networks"]

Row = TypeVar("Row")
_CONVERTER = Path(__file__).resolve().parents[1] / ".venv-tflite/bin/python"


def rows_of_networks(
    names: Iterable[str], rows_of: Callable[[str, Path], Iterable[Row]], out: Path
) -> list[Row]:
    """All rows, each printed as soon as it is there; after each the file holds those so far.

    Args:
        names: Networks.
        rows_of: Makes the rows of one, dataclasses or dictionaries, in an empty folder.
        out: JSON file.
    """
    rows: list[Row] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            for row in rows_of(name, Path(folder)):
                rows.append(row)
                print(*(f"{key}={value}" for key, value in _plain(row).items()), flush=True)
                out.write_text(json.dumps([_plain(r) for r in rows], indent=2), encoding="utf-8")
    return rows


def _plain(row: Any) -> dict[str, Any]:  # noqa: ANN401 - what rows may be
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else dict(row)


def quiet_with_converter() -> None:
    """Silence libraries, and let exports find the onnx2tf of ``scripts/setup-tflite``."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if _CONVERTER.exists():
        os.environ.setdefault("TORCHEDGE_TFLITE_PYTHON", str(_CONVERTER))
