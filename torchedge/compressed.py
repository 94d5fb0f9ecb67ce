"""The hand-over from training to export: a model, real samples and what it should answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn

from torchedge.arguments import require
from torchedge.batches.examples import run_once
from torchedge.bench.session import Array
from torchedge.errors import SchemeError
from torchedge.exporting.artifact import Artifact, Format, TensorSpec, write_artifact
from torchedge.exporting.normalisation import Normalisation
from torchedge.exporting.pipeline import staged_folder
from torchedge.exporting.samples import SAMPLES_FILE, Samples, save_samples
from torchedge.graph.copies import copied
from torchedge.graph.wrappers import without_wrappers
from torchedge.kinds import kinds_checked
from torchedge.program import save_program
from torchedge.quantization.freeze import freeze
from torchedge.quantization.modules import FakeQuantize
from torchedge.quantization.names import scheme_of
from torchedge.quantization.requirements import require_finite_weights, require_float32
from torchedge.reading.names import require_model_name, require_text
from torchedge.saving.carried import require_carried
from torchedge.saving.checks import (
    finite_metrics,
    require_fitting,
    require_indices,
    require_names,
)
from torchedge.saving.float_network import FloatAnswers, Question, float_answers
from torchedge.saving.given import (
    class_names_of,
    examples_of,
    folder_for,
    is_empty,
    labels_of,
    samples_of,
)
from torchedge.saving.outputs import (
    has_scores,
    named_tensors,
    require_batch_first,
    require_repeatable,
    with_tuple_of_tensors,
)
from torchedge.saving.reference import (
    PROGRAM_FILE,
    Reference,
    TorchRunner,
    answers_in_batches,
    integer_program,
    reference,
)
from torchedge.scheme import QuantScheme

__all__ = ["PROGRAM_FILE", "CompressedModel", "TorchRunner", "integer_program"]


@final
@dataclass(frozen=True, kw_only=True)
class CompressedModel:
    """What training hands to export.

    Args:
        module: A float network, or one from ``prepare_qat`` that has been calibrated or trained. It
            returns a tensor, or tensors in tuples, lists, dictionaries, namedtuples or dataclasses.
        example_inputs: One set of inputs, or the tensor that is the only one; their shapes, batch
            size included, are the artefact's.
        samples: Real data, on which every later artefact is compared: a tensor for each input, with
            samples along the first axis; or a ``DataLoader``, a folder and more, see
            :class:`~torchedge.batches.data.Data`.
        scheme: The scheme given to ``prepare_qat``, or the name of its target; ``None`` for a float
            network.
        labels: Class index of each sample, for accuracies in the report; left out, those that come
            with the samples.
        calibration: Like ``samples``, but data seen in training; calibrators read it.
        metrics: Figures that training measured, by name, for example ``float_accuracy``.
        name: Name of the model in files and reports.
        class_names: What the scores of the first output stand for, in their order.
        normalisation: What the first input went through; ``None`` where that is not known.
        float_module: The trained float network, against whose answers every later form is held.
            Left out, it is the one that was quantised, where it is clear that this is meant: see
            :func:`~torchedge.saving.float_network.float_answers`.

    Example:
        >>> import tempfile, torch
        >>> net, x = nn.Sequential(nn.Linear(3, 2)), torch.rand(4, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model = CompressedModel(module=net, example_inputs=(x[:1],), samples=(x,))
        ...     [spec.name for spec in model.save(f"{folder}/mine").outputs]
        ['output_0']
    """

    module: nn.Module
    example_inputs: Any
    samples: Any
    scheme: QuantScheme | str | None = None
    labels: Any = None
    calibration: Any = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    name: str = "model"
    class_names: tuple[str, ...] = ()
    normalisation: Normalisation | None = None
    float_module: nn.Module | None = None

    @kinds_checked("folder")
    def save(self, folder: Path | str, *, overwrite: bool = False) -> Artifact:
        """Write ``program.pt2``, ``samples.safetensors`` and the manifest.

        The model is frozen (evaluation mode, batch norms folded, scales constant), captured with
        ``torch.export``, run on every sample, and its answers are stored beside them, with those of
        the float network. Outputs that have names keep them.

        Args:
            folder: New folder; it appears only when everything is written.
            overwrite: Replace the folder if it exists.

        Raises:
            WeightError: A weight is NaN or infinite.
            TraceError: The module is no network, or its weights have no values.
            CalibrationError: There are no samples, a value is NaN, their shapes, types, labels or
                class names do not fit, or a quantiser has no range.
            UsageError: The folder is none, the network does not run on the example inputs, the
                normalisation does not fit the first one, a metric is no finite number, the name is
                none of a file, or the float network returns something else than the model.
            SchemeError: Scheme and module contradict each other.
            ExportError: torch.export cannot capture the module, it returns something else than
                tensors with the batch as first axis, or it answers otherwise every time.
            OutputExistsError: The folder exists.
        """
        folder, given = folder_for(folder), self._given()
        given._require_sound_data()
        model = given._frozen()
        result = run_once(model, given.example_inputs)
        again = run_once(model, given.example_inputs)
        require_repeatable(named_tensors(result), named_tensors(again))
        if self.labels is None and not has_scores(named_tensors(result)):
            given = replace(given, labels=None)  # what came with the samples is no class index
        given._require_fitting_outputs(named_tensors(result))
        return given._written(model, result, folder, overwrite=overwrite)

    def _written(
        self, model: nn.Module, result: object, folder: Path, *, overwrite: bool
    ) -> Artifact:
        with staged_folder(folder, overwrite=overwrite) as staging:
            returning_tuple = with_tuple_of_tensors(model, result)
            scheme = None if self.scheme is None else scheme_of(self.scheme)
            save_program(returning_tuple, self.example_inputs, staging / PROGRAM_FILE)
            program = reference(staging / PROGRAM_FILE, scheme)
            answers = self._answers(program, named_tensors(result))
            in_float = self._float_answers(answers)
            save_samples(self._samples(answers, in_float), staging / SAMPLES_FILE)
            details: dict[str, Any] = {"deployed_files": [PROGRAM_FILE]}
            if in_float.missing:
                details["float_network"] = in_float.missing
            draft = Artifact(
                path=staging,
                format=Format("torch"),
                inputs=_specs("input", self.example_inputs),
                outputs=self._output_specs(program, answers),
                made_by=("CompressedModel.save",),
                name=self.name,
                class_names=self.class_names,
                scheme=scheme,
                metrics=self.metrics,
                details=details,
                normalisation=self.normalisation,
            )
            artifact = write_artifact(draft)
        return replace(artifact, path=folder)

    def _given(self) -> "CompressedModel":
        """The same with every field in one form, whatever it was given as."""
        module = without_wrappers(self.module)
        examples = examples_of(module, self.example_inputs)
        samples, labels = samples_of("samples", module, self.samples, examples)
        calibration = () if is_empty(self.calibration) else self.calibration
        if not is_empty(calibration):
            calibration, _ = samples_of("calibration", module, calibration, examples)
        return replace(
            self,
            module=module,
            example_inputs=examples,
            samples=samples,
            scheme=None if self.scheme is None else scheme_of(self.scheme),
            labels=labels if self.labels is None else labels_of(self.labels),
            calibration=calibration,
            metrics=finite_metrics(self.metrics),
            name=require_model_name(self.name),
            class_names=tuple(require_text("a class", n) for n in class_names_of(self.class_names)),
            float_module=None if self.float_module is None else without_wrappers(self.float_module),
        )

    def _require_sound_data(self) -> None:
        require_finite_weights(self.module)
        require_float32(self.module)
        require_fitting("samples", self.samples, self.example_inputs)
        if self.calibration:
            require_fitting("calibration", self.calibration, self.example_inputs)
        if self.normalisation is not None:
            way_out = "give Normalisation(mean=(0.5,), deviation=(0.25,)), for example"
            kind = isinstance(self.normalisation, Normalisation)
            require(kind, "the normalisation", self.normalisation, way_out)
            self.normalisation.require_fit(self.example_inputs[0].shape)

    def _require_fitting_outputs(self, outputs: Mapping[str, Tensor]) -> None:
        require_batch_first(outputs, len(self.example_inputs[0]))
        scores = next(iter(outputs.values()))
        require_names(self.class_names, scores)
        if self.labels is not None:
            require_indices(self.labels, len(self.samples[0]), scores)

    def _frozen(self) -> nn.Module:
        quantized = any(isinstance(m, FakeQuantize) for m in self.module.modules())
        if quantized != (self.scheme is not None):
            raise SchemeError(
                "the module is fake-quantised but no scheme was given; pass the one of prepare_qat."
                if quantized
                else "a scheme was given for a float module; call prepare_qat, or leave it out."
            )
        if self.scheme is None:
            return copied(self.module).eval().cpu()
        scheme = scheme_of(self.scheme)
        require_carried(self.module, scheme)
        return freeze(self.module, bias=scheme.bias).cpu()

    def _answers(self, program: Reference, outputs: Mapping[str, Tensor]) -> dict[str, Array]:
        found = answers_in_batches(program.run, self.samples, len(self.example_inputs[0]))
        return dict(zip(outputs, found.values(), strict=True))

    def _float_answers(self, answers: Mapping[str, Array]) -> FloatAnswers:
        if self.scheme is None and self.float_module is None:
            return FloatAnswers()  # it is the float network
        question = Question(
            samples=self.samples, batch_size=len(self.example_inputs[0]), answers=answers
        )
        return float_answers(self.module, self.float_module, question)

    def _samples(self, answers: Mapping[str, Array], in_float: FloatAnswers) -> Samples:
        return Samples(
            inputs=tuple(tensor.detach().cpu().numpy() for tensor in self.samples),
            expected=tuple(answers.values()),
            labels=None if self.labels is None else self.labels.cpu().numpy(),
            calibration=tuple(tensor.detach().cpu().numpy() for tensor in self.calibration),
            float_answers=in_float.arrays,
        )

    def _output_specs(
        self, program: Reference, answers: Mapping[str, Array]
    ) -> tuple[TensorSpec, ...]:
        batch_size = len(self.example_inputs[0])
        return tuple(
            TensorSpec(name, (batch_size, *array.shape[1:]), str(array.dtype), *(grid or ()))
            for (name, array), grid in zip(answers.items(), program.output_grids, strict=True)
        )


def _specs(prefix: str, tensors: tuple[Tensor, ...]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(f"{prefix}_{i}", tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for i, tensor in enumerate(tensors)
    )
