"""The hand-over from training to export: a model, real samples and what it should answer."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast, final

import numpy as np
import torch
from torch import Tensor, nn

from torchedge.bench.session import Array, Session
from torchedge.errors import CalibrationError, ExportError, SchemeError
from torchedge.export.artifact import Artifact, Format, TensorSpec, write_artifact
from torchedge.export.normalisation import Normalisation
from torchedge.export.pipeline import staged_folder
from torchedge.export.samples import SAMPLES_FILE, Samples, save_samples
from torchedge.program import load_program, save_program
from torchedge.quantization.freeze import FrozenFakeQuantize, freeze
from torchedge.quantization.integers import IntegerProgram
from torchedge.quantization.modules import FakeQuantize
from torchedge.quantization.requirements import require_finite_weights
from torchedge.scheme import QuantScheme

__all__ = ["PROGRAM_FILE", "CompressedModel", "TorchRunner", "integer_program"]

PROGRAM_FILE = "program.pt2"


@final
@dataclass(frozen=True, kw_only=True)
class CompressedModel:
    """What training hands to export.

    Args:
        module: A float network, or one from ``prepare_qat`` that has been calibrated or trained.
        example_inputs: One set of inputs; their shapes, batch size included, are the artefact's.
        samples: One tensor for each input with real data, samples along the first axis. Every later
            artefact is compared on them.
        scheme: The scheme given to ``prepare_qat``; ``None`` for a float network.
        labels: Class index of each sample, for accuracies in the report.
        calibration: Like ``samples``, but data seen in training; calibrators read it.
        metrics: Figures that training measured, by name, for example ``float_accuracy``.
        name: Name of the model in files and reports.
        class_names: What the scores of the first output stand for, in their order.
        normalisation: What the first input went through; ``None`` where that is not known.
    """

    module: nn.Module
    example_inputs: tuple[Tensor, ...]
    samples: tuple[Tensor, ...]
    scheme: QuantScheme | None = None
    labels: Tensor | None = None
    calibration: tuple[Tensor, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    name: str = "model"
    class_names: tuple[str, ...] = ()
    normalisation: Normalisation | None = None

    def save(self, folder: Path, *, overwrite: bool = False) -> Artifact:
        """Write ``program.pt2``, ``samples.safetensors`` and the manifest.

        The model is frozen (evaluation mode, batch norms folded, scales constant), captured with
        ``torch.export``, run on every sample, and its answers are stored beside them.

        Args:
            folder: New folder; it appears only when everything is written.
            overwrite: Replace the folder if it exists.

        Raises:
            WeightError: A weight is NaN or infinite.
            CalibrationError: There are no samples, their shapes or the class names do not fit, or
                a quantiser has no range.
            UsageError: The normalisation does not fit the first input.
            SchemeError: Scheme and module contradict each other.
            ExportError: torch.export cannot capture the module, or it returns something else than
                tensors.
            OutputExistsError: The folder exists.
        """
        require_finite_weights(self.module)
        self._require_fitting_samples()
        if self.normalisation is not None:
            self.normalisation.require_fit(self.example_inputs[0].shape)
        model = self._frozen()
        with torch.no_grad():
            _tensors(model(*self.example_inputs))  # refused before anything is written
        with staged_folder(folder, overwrite=overwrite) as staging:
            save_program(model, self.example_inputs, staging / PROGRAM_FILE)
            reference = _reference(staging / PROGRAM_FILE, self.scheme)
            expected = _run_in_batches(reference, self.samples, len(self.example_inputs[0]))
            self._require_a_name_for_each_score(expected[0])
            save_samples(self._samples(expected), staging / SAMPLES_FILE)
            draft = Artifact(
                path=staging,
                format=Format("torch"),
                inputs=_specs("input", self.example_inputs),
                outputs=self._output_specs(model, expected),
                made_by=("CompressedModel.save",),
                name=self.name,
                class_names=self.class_names,
                scheme=self.scheme,
                metrics=self.metrics,
                details={"deployed_files": [PROGRAM_FILE]},
                normalisation=self.normalisation,
            )
            artifact = write_artifact(draft)
        return replace(artifact, path=folder)

    def _require_fitting_samples(self) -> None:
        _require_fitting("samples", self.samples, self.example_inputs)
        if self.calibration:
            _require_fitting("calibration", self.calibration, self.example_inputs)
        count = len(self.samples[0])
        if self.labels is not None and tuple(self.labels.shape) != (count,):
            raise CalibrationError(
                f"labels have shape {tuple(self.labels.shape)} for {count} samples; "
                "give one class index for each sample."
            )

    def _require_a_name_for_each_score(self, scores: Array) -> None:
        if self.class_names and (scores.ndim != 2 or scores.shape[1] != len(self.class_names)):
            raise CalibrationError(
                f"{len(self.class_names)} class_names for a first output of shape {scores.shape}; "
                "give one name for each score, or none."
            )

    def _frozen(self) -> nn.Module:
        quantized = any(isinstance(m, FakeQuantize) for m in self.module.modules())
        if quantized != (self.scheme is not None):
            raise SchemeError(
                "the module is fake-quantised but no scheme was given; pass the one of prepare_qat."
                if quantized
                else "a scheme was given for a float module; call prepare_qat, or leave it out."
            )
        if self.scheme is None:
            return copy.deepcopy(self.module).eval()
        return freeze(self.module, bias=self.scheme.bias)

    def _samples(self, expected: tuple[Array, ...]) -> Samples:
        return Samples(
            inputs=tuple(tensor.detach().cpu().numpy() for tensor in self.samples),
            expected=expected,
            labels=None if self.labels is None else self.labels.cpu().numpy(),
            calibration=tuple(tensor.detach().cpu().numpy() for tensor in self.calibration),
        )

    def _output_specs(
        self, model: nn.Module, expected: tuple[Array, ...]
    ) -> tuple[TensorSpec, ...]:
        batch_size = len(self.example_inputs[0])
        quantizers = _output_quantizers(model, len(expected))
        return tuple(
            TensorSpec(
                f"output_{i}",
                (batch_size, *array.shape[1:]),
                str(array.dtype),
                None if quantizer is None else float(quantizer.scale),
                None if quantizer is None else int(quantizer.zero_point),
            )
            for i, (array, quantizer) in enumerate(zip(expected, quantizers, strict=True))
        )


def _require_fitting(what: str, tensors: tuple[Tensor, ...], examples: tuple[Tensor, ...]) -> None:
    counts = {len(tensor) for tensor in tensors}
    if len(tensors) != len(examples) or len(counts) != 1 or 0 in counts:
        raise CalibrationError(
            f"{what}: {len(tensors)} tensors with {sorted(counts)} samples for {len(examples)} "
            "inputs; give one non-empty tensor for each input."
        )
    batch_size = len(examples[0])
    if counts.pop() % batch_size:
        raise CalibrationError(
            f"{what}: the number of samples is no multiple of the batch size {batch_size}."
        )
    for tensor, example in zip(tensors, examples, strict=True):
        if tensor.shape[1:] != example.shape[1:]:
            raise CalibrationError(
                f"{what} have shape {tuple(tensor.shape[1:])} each, the example input "
                f"{tuple(example.shape[1:])}; preprocess them alike."
            )


def _specs(prefix: str, tensors: tuple[Tensor, ...]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(f"{prefix}_{i}", tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for i, tensor in enumerate(tensors)
    )


def _output_quantizers(model: nn.Module, count: int) -> tuple[FrozenFakeQuantize | None, ...]:
    """For each output of a frozen model the quantiser that wrote it, or ``None`` for float."""
    nothing: tuple[FrozenFakeQuantize | None, ...] = (None,) * count
    if not isinstance(model, torch.fx.GraphModule):
        return nothing
    returned = next(node for node in model.graph.nodes if node.op == "output").args[0]
    nodes = returned if isinstance(returned, tuple | list) else (returned,)
    if len(nodes) != count:
        return nothing
    return tuple(_quantizer_of(node, model) for node in nodes)


def _quantizer_of(node: object, model: torch.fx.GraphModule) -> FrozenFakeQuantize | None:
    if not isinstance(node, torch.fx.Node) or node.op != "call_module":
        return None
    module = model.get_submodule(str(node.target))
    return module if isinstance(module, FrozenFakeQuantize) else None


def integer_program(artifact: Artifact) -> IntegerProgram | None:
    """A saved program to be run node by node on its integers; none where biases are not int32.

    Raises:
        ArtifactError: The program is damaged or holds what must not be loaded.
    """
    return _on_integers(load_program(artifact.file(PROGRAM_FILE)).module(), artifact.scheme)


def _on_integers(module: nn.Module, scheme: QuantScheme | None) -> IntegerProgram | None:
    if scheme is None or scheme.bias != "int32":
        return None
    assert isinstance(module, torch.fx.GraphModule)
    whole_numbers = "average_pool" in scheme.placement.same_scale  # TFLite's way
    return IntegerProgram(module, whole_numbers=whole_numbers)


def _reference(path: Path, scheme: QuantScheme | None) -> Callable[..., object]:
    """The program as its device computes it: on integers where biases are int32."""
    module = load_program(path).module()
    program = _on_integers(module, scheme)
    return module if program is None else program.run


def _run_in_batches(
    model: Callable[..., object], samples: tuple[Tensor, ...], batch_size: int
) -> tuple[Array, ...]:
    """Outputs of a module for all samples, in the batches it will be exported with."""
    results: list[tuple[Tensor, ...]] = []
    with torch.no_grad():
        for parts in zip(*(tensor.split(batch_size) for tensor in samples), strict=True):
            result = model(*parts)
            results.append(_tensors(result))
    return tuple(torch.cat(column).cpu().numpy() for column in zip(*results, strict=True))


def _tensors(result: object) -> tuple[Tensor, ...]:
    """What a network returned, as a tuple."""
    outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
    if not all(isinstance(output, Tensor) for output in outputs):
        raise ExportError(
            f"the model returns {type(result).__name__}; wrap it so that it returns a tensor, or a "
            "tuple of tensors."
        )
    return cast(tuple[Tensor, ...], outputs)


@final
class TorchRunner:
    """Opens the artefacts that :meth:`CompressedModel.save` writes."""

    format = Format("torch")
    label = "PyTorch program"

    @contextmanager
    def open(self, artifact: Artifact) -> Iterator[Session]:
        """Load the program; neither the user's classes nor a pickle are needed.

        Raises:
            ArtifactError: The program is damaged or holds what must not be loaded.
        """
        model = _reference(artifact.file(PROGRAM_FILE), artifact.scheme)

        def run(*inputs: Array) -> tuple[Array, ...]:
            with torch.inference_mode():
                result = model(*(torch.from_numpy(np.ascontiguousarray(x)) for x in inputs))
            return tuple(tensor.numpy() for tensor in _tensors(result))

        yield run
