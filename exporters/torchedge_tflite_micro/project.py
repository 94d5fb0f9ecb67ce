"""Writing the project: one folder for the Arduino IDE, for ESP-IDF and for CMake."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from torchedge.bench.memory import Fit
from torchedge.bench.session import Array
from torchedge.exporting.normalisation import Normalisation
from torchedge.exporting.templates import rendered
from torchedge_tflite.flatbuffer import FlatModel, FlatTensor
from torchedge_tflite_micro.golden import Golden
from torchedge_tflite_micro.names import c_identifier, c_string, class_constants
from torchedge_tflite_micro.operators import model_operators, resolver_method

__all__ = ["Project", "write_project"]

_TEMPLATES = {
    "sketch.ino.j2": "{name}/{name}.ino",
    "CMakeLists.txt.j2": "{name}/CMakeLists.txt",
    "idf_component.yml.j2": "{name}/idf_component.yml",
    "main.cpp.j2": "{name}/apps/main.cpp",
    "esp_idf_main.cpp.j2": "{name}/apps/esp_idf_main.cpp",
    "config.h.j2": "{name}/src/config.h",
    "model.h.j2": "{name}/src/model.h",
    "model.cpp.j2": "{name}/src/model.cpp",
    "settings.h.j2": "{name}/src/settings.h",
    "settings.cpp.j2": "{name}/src/settings.cpp",
    "golden.h.j2": "{name}/src/golden.h",
    "golden.cpp.j2": "{name}/src/golden.cpp",
    "inference.h.j2": "{name}/src/inference.h",
    "inference.cpp.j2": "{name}/src/inference.cpp",
    "README.md.j2": "README.md",
}
_PER_LINE = 16


@final
@dataclass(frozen=True, kw_only=True)
class Project:
    """All that the templates say.

    Args:
        title: The model's name.
        data: The .tflite file.
        flat: The same, read.
        arena_bytes: To reserve.
        golden: Runs of the golden test.
        golden_tolerance: Steps by which it lets an output differ.
        class_names: Of the first output's scores; empty where they have none.
        fit: Memory, part by part.
        kernels: The library of kernels that the sizes are for.
        normalisation: What the first input went through; ``None`` where that is not known.
    """

    title: str
    data: bytes
    flat: FlatModel
    arena_bytes: int
    golden: tuple[Golden, ...]
    golden_tolerance: int
    class_names: tuple[str, ...]
    fit: Fit
    kernels: str
    normalisation: Normalisation | None = None

    @property
    def name(self) -> str:
        """The title as an identifier: name of the folder, the sketch and the namespace."""
        return c_identifier(self.title)


def write_project(project: Project, folder: Path) -> None:
    """Write every file of a project.

    Raises:
        ExportError: Two classes would have the same name in C++.
    """
    values = _values(project)
    for template, target in _TEMPLATES.items():
        path = folder / target.format(name=project.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendered("torchedge_tflite_micro", template, values), encoding="utf-8")


def _values(project: Project) -> dict[str, Any]:
    flat = project.flat
    operators = model_operators(flat)
    constants = class_constants(project.class_names)
    return {
        "title": " ".join(project.title.split()),
        "name": project.name,
        "macro": project.name.upper(),
        "model_bytes": len(project.data),
        "model_rows": list(_hexadecimal(project.data)),
        "arena_bytes": project.arena_bytes,
        "operators": operators,
        "methods": [resolver_method(name) for name in operators],
        "inputs": [_port(flat.tensors[i]) for i in flat.inputs],
        "outputs": [_port(flat.tensors[i]) for i in flat.outputs],
        "golden": [
            {"inputs": list(_decimal(run.inputs)), "outputs": list(_decimal(run.outputs))}
            for run in project.golden
        ],
        "golden_bytes": sum(run.bytes for run in project.golden),
        "input_bytes": len(project.golden[0].inputs),
        "output_bytes": len(project.golden[0].outputs),
        "tolerance": project.golden_tolerance,
        "classes": [
            {"constant": constant, "text": c_string(name)}
            for constant, name in zip(constants, project.class_names, strict=True)
        ],
        "fit": project.fit,
        "kernels": project.kernels,
        "normalisation": _normalisation(project.normalisation),
    }


def _normalisation(found: Normalisation | None) -> list[dict[str, str]]:
    """Mean and deviation of each channel."""
    pairs = zip(found.mean, found.deviation, strict=True) if found else ()
    return [{"mean": f"{mean:.9g}", "deviation": f"{deviation:.9g}"} for mean, deviation in pairs]


def _port(tensor: FlatTensor) -> dict[str, Any]:
    size = 1
    for length in tensor.shape:
        size *= length
    return {
        "bytes": size,
        "shape": " x ".join(str(length) for length in tensor.shape),
        "scale": f"{tensor.scales[0]:.9g}" if tensor.scales else "1",
        "zero_point": tensor.zero_points[0] if tensor.zero_points else 0,
    }


def _hexadecimal(data: bytes) -> Iterator[str]:
    for begin in range(0, len(data), _PER_LINE):
        yield ", ".join(f"0x{byte:02x}" for byte in data[begin : begin + _PER_LINE])


def _decimal(values: Array) -> Iterator[str]:
    numbers: Sequence[int] = values.tolist()
    for begin in range(0, len(numbers), _PER_LINE):
        yield ", ".join(str(number) for number in numbers[begin : begin + _PER_LINE])
