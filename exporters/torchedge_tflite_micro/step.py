"""From a .tflite file to a project for a microcontroller, with an arena that was measured."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torchedge.errors import BudgetError, ExportError
from torchedge.exporting.artifact import Artifact, Format
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge.exporting.step import write_result
from torchedge_tflite.flatbuffer import FlatModel, read_model
from torchedge_tflite.metadata import without_embedded
from torchedge_tflite.step import MODEL_FILE
from torchedge_tflite_micro.boards import Board
from torchedge_tflite_micro.golden import golden_runs
from torchedge_tflite_micro.memory import Sizes, fit_on, largest_contributors
from torchedge_tflite_micro.operators import model_operators, require_runnable
from torchedge_tflite_micro.project import Project, write_project
from torchedge_tflite_micro.runtime import VERSION, smallest_arena
from torchedge_tflite_micro.scratch import arena_bytes

__all__ = ["MODEL_FILE", "TFLiteToMicro"]


@final
@dataclass(frozen=True, kw_only=True)
class TFLiteToMicro:
    """Writes a sketch, an ESP-IDF component and CMake code in one folder, ready to build.

    Args:
        board: Where it will run.
        golden_samples: Real inputs that are compiled in and compared at boot; at least one.
        arena_bytes: An arena of your choice; it must not be smaller than what is needed.
    """

    board: Board
    golden_samples: int = 4
    arena_bytes: int | None = None

    consumes = Format("tflite")
    produces = Format("tflite-micro")

    def export(self, source: Artifact, folder: Path) -> Artifact:
        """Measure the arena, check that everything fits, and write the project.

        Raises:
            ExportError: An operator has no kernel there, a shape is dynamic or has too many axes,
                inputs or outputs are not int8, or two classes have the same name in C++.
            BudgetError: Flash or RAM do not suffice, or the chosen arena is too small.
            VerificationError: The integer simulator answers otherwise than tflite-micro.
            MissingDependencyError: tflite-micro or ai-edge-litert is not installed.
            ArtifactError: The file is damaged.
        """
        file = source.file(MODEL_FILE)
        flat, data = read_model(file), without_embedded(file.read_bytes())
        require_runnable(flat)
        smallest = smallest_arena(file)
        arena = self._arena(smallest, flat)
        golden, simulated = golden_runs(
            data,
            flat,
            source,
            load_samples(source.file(SAMPLES_FILE)),
            count=self.golden_samples,
            arena=smallest,
        )
        sizes = Sizes(
            model_bytes=len(data),
            golden_bytes=sum(run.bytes for run in golden),
            arena_bytes=arena,
            smallest_arena_bytes=smallest,
        )
        fit = fit_on(self.board, flat, sizes)
        fit.require(source.name, largest_contributors(flat))
        project = Project(
            title=source.name,
            data=data,
            flat=flat,
            arena_bytes=arena,
            golden=golden,
            golden_tolerance=self.board.golden_tolerance,
            class_names=source.class_names,
            fit=fit,
            kernels=self.board.kernels,
            normalisation=source.normalisation,
        )
        write_project(project, folder)
        (folder / MODEL_FILE).write_bytes(data)
        shutil.copyfile(source.file(SAMPLES_FILE), folder / SAMPLES_FILE)
        details = {
            **source.details,
            "deployed_files": [MODEL_FILE],
            "project": project.name,
            "operators": list(model_operators(flat)),
            "arena_bytes": arena,
            "smallest_arena_bytes": smallest,
            "kernels": self.board.kernels,
            "golden_samples": len(golden),
            "simulator": simulated,
            "tflite_micro": VERSION,
            "fit": fit.to_dict(),
        }
        return write_result(self, source, folder, details)

    def _arena(self, smallest: int, flat: FlatModel) -> int:
        needed = arena_bytes(smallest, flat, self.board.kernels)
        if self.golden_samples < 1:
            raise ExportError(f"golden_samples = {self.golden_samples}; give at least 1.")
        if self.arena_bytes is None:
            return needed
        if self.arena_bytes < needed:
            raise BudgetError(
                f"an arena of {self.arena_bytes:,} bytes is too small: the network needs "
                f"{needed:,} ({smallest:,} in tflite-micro here, the rest is scratch of "
                f"{self.board.kernels} and rounding). Give so many, or leave arena_bytes out."
            )
        return self.arena_bytes
