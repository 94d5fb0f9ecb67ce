"""From a ``torch.export`` program to ONNX with explicit quantisation."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from torchedge.backends import ONNX_LIMITS
from torchedge.errors import ExportError
from torchedge.exporting.artifact import Artifact, Format
from torchedge.exporting.samples import SAMPLES_FILE
from torchedge.exporting.step import write_result

if TYPE_CHECKING:
    import onnx
    from torch.export import ExportedProgram

__all__ = ["FLOAT_DETAILS", "FLOAT_FILE", "MODEL_FILE", "TorchToOnnx"]

MODEL_FILE = "model.onnx"
FLOAT_FILE = "model_fp32.onnx"
FLOAT_DETAILS = {"onnx_label": "float32, ONNX Runtime"}  # what a report calls it
_EXPORTER_OPSET = 18
_OUTPUT = "torchedge.output."  # until the graph is there, so that no value inside has that name
_INT32_MIN = -(2**31)


@final
@dataclass(frozen=True, kw_only=True)
class TorchToOnnx:
    """Writes ``model.onnx`` with Q/DQ and, from the same numbers, ``model_fp32.onnx`` without.

    Args:
        opset: ONNX opset of both files, 13 to 20.
        opset_at_most: Newest opset that may be taken where the network cannot be written at
            ``opset``; the oldest that will do is taken.
        integer_weights: Store weights as int8 before their ``DequantizeLinear``; otherwise as float
            before a Q/DQ pair, which every TensorRT reads.
    """

    opset: int = _EXPORTER_OPSET
    opset_at_most: int | None = None
    integer_weights: bool = True

    consumes = Format("torch")
    produces = Format("onnx")

    def export(self, source: Artifact, folder: Path) -> Artifact:
        """Translate the program; fake quantisers become ``QuantizeLinear``/``DequantizeLinear``.

        Raises:
            SchemeError: ONNX at these opsets cannot say the scheme; the text has the nearest.
            ArtifactError: The program is damaged.
            ExportError: An operator cannot be translated.
        """
        from torchedge.compressed import PROGRAM_FILE
        from torchedge.program import load_program

        if source.scheme is not None:
            ONNX_LIMITS.require(source.scheme)
        program = load_program(source.file(PROGRAM_FILE))
        model = self._quantized_model(program, source)
        _write(_for_integer_kernels(model, source), folder / MODEL_FILE)
        _write(_float_twin(model), folder / FLOAT_FILE)
        shutil.copyfile(source.file(SAMPLES_FILE), folder / SAMPLES_FILE)
        details = {"opset": model.opset_import[0].version, "deployed_files": [MODEL_FILE]}
        if source.scheme is None:
            details |= FLOAT_DETAILS
        return write_result(self, source, folder, details)

    def _quantized_model(self, program: "ExportedProgram", source: Artifact) -> "onnx.ModelProto":
        from torchedge_onnx import integer_forms, rewrites
        from torchedge_onnx.subpixel import subpixel_convolutions

        model = rewrites.without_metadata(_translated(program, source))
        model = integer_forms.fold_padding(
            rewrites.mean_to_global_pool(model), through_quantizers=not self.integer_weights
        )
        if self.integer_weights:
            model = rewrites.fold_weight_quantizers(rewrites.fold_bias_quantizers(model))
        model = integer_forms.transpose_weights(model)
        if self.integer_weights:
            model = rewrites.with_own_zero_points(subpixel_convolutions(model))
        return self._lowered(model)

    def _lowered(self, model: "onnx.ModelProto") -> "onnx.ModelProto":
        from torchedge_onnx import rewrites

        newest = max(self.opset_at_most or self.opset, self.opset)
        for opset in range(self.opset, newest):
            try:
                return rewrites.lower_opset(model, opset)
            except ExportError:
                continue  # it has an operator that is newer
        return rewrites.lower_opset(model, newest)


def _float_twin(model: "onnx.ModelProto") -> "onnx.ModelProto":
    from torchedge_onnx import rewrites

    return rewrites.without_quantizers(model)


def _for_integer_kernels(model: "onnx.ModelProto", source: Artifact) -> "onnx.ModelProto":
    from torchedge_onnx.hard_gates import hard_gates_as_sums
    from torchedge_onnx.integer_forms import flatten_integers

    gated = source.scheme is not None and "hardswish" in source.scheme.placement.gated
    return flatten_integers(hard_gates_as_sums(model)) if gated else model


def _write(model: "onnx.ModelProto", path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the ONNX graph is not valid: {error}") from error
    path.write_bytes(model.SerializeToString())


def _translated(program: "ExportedProgram", source: Artifact) -> "onnx.ModelProto":
    import torch

    from torchedge.quantization.operator import fake_quantize_operator
    from torchedge_onnx.graph import rename_values

    assert fake_quantize_operator is not None
    try:
        exported = torch.onnx.export(
            program,
            input_names=[spec.name for spec in source.inputs],
            output_names=[f"{_OUTPUT}{index}" for index in range(len(source.outputs))],
            custom_translation_table={torch.ops.torchedge.fake_quantize.default: _translation()},
            opset_version=_EXPORTER_OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    except Exception as error:
        raise ExportError(
            f"torch.onnx cannot translate '{source.path}': {str(error).splitlines()[0]}"
        ) from error
    assert exported is not None
    names = {f"{_OUTPUT}{i}": spec.name for i, spec in enumerate(source.outputs)}
    model = exported.model_proto  # written anew at every reading
    rename_values(model, names)
    return model


def _translation() -> Any:  # noqa: ANN401
    """How ``torchedge::fake_quantize`` is written: a Q/DQ pair, or int32 and DQ for a bias."""
    from onnxscript import opset18 as op

    int32 = 6

    def fake_quantize(x, scale, zero_point, axis: int, quant_min: int, quant_max: int):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if quant_min == _INT32_MIN:
            integers = op.Cast(op.Round(op.Div(x, scale)), to=int32)
        else:
            integers = op.QuantizeLinear(x, scale, zero_point, axis=axis)
        return op.DequantizeLinear(integers, scale, zero_point, axis=axis)

    return fake_quantize
