"""A scale for every float tensor of a network: trained where there is one, else from data."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from torchedge.bench.session import Array
from torchedge.errors import ArtifactError, CalibrationError
from torchedge_onnx.census import read_model
from torchedge_onnx.foreign_graph import plain_form
from torchedge_onnx.foreign_kinds import require_known_kind
from torchedge_onnx.graph import constants, real_inputs
from torchedge_onnx.session import open_observed
from torchedge_tensorrt.rule_graph import MOVES

if TYPE_CHECKING:
    from torchedge.quantization import RangeRule
    from torchedge.quantization.clipping import ChosenRange

__all__ = [
    "chosen_ranges",
    "float_model",
    "float_tensors",
    "scales_of",
    "tensor_scales",
    "trained_scales",
]

_FLOATS = {onnx.TensorProto.UNDEFINED, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}
_CLIPS = frozenset({"Clip", "Relu"})


def float_model(path: Path) -> onnx.ModelProto:
    """A network without Q/DQ, its local functions inlined and no constant among its inputs.

    Raises:
        ArtifactError: The file is missing or damaged, or has Q/DQ.
        UsageError: It is no plain network of tensors.
    """
    if not path.is_file():
        raise ArtifactError(f"'{path}' is no file; name an ONNX file.")
    model = plain_form(read_model(path))
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise ArtifactError(
            f"'{path}' has QuantizeLinear nodes, so TensorRT ignores a cache beside "
            "them. Give the float network."
        )
    require_known_kind(path, model)
    return model


def float_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names that a calibration cache must cover: graph inputs and every node's float output."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    names = [value.name for value in real_inputs(model)]
    names += [name for node in model.graph.node for name in node.output if name]
    return tuple(name for name in names if types.get(name, 0) in _FLOATS)


def trained_scales(model: onnx.ModelProto) -> dict[str, float]:
    """Scale of each activation that a Q/DQ graph quantises, by the tensor's name."""
    values = constants(model)
    return {
        node.input[0]: float(values[node.input[1]])
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in values
    }


def tensor_scales(
    quantized: Path, plain: Path, batches: Iterable[tuple[Array, ...]]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """One scale for each float tensor of the plain network, in graph order.

    A tensor that training gave a scale keeps it. What only moves or clips values shares the scale
    of its neighbour. The others get the entropy range of what the plain network computes on the
    calibration data; notes name those where the squared error decides instead.

    Args:
        quantized: The Q/DQ file.
        plain: The same network without Q/DQ, with the same tensor names.
        batches: Calibration inputs.

    Returns:
        Scales, and sentences about them.

    Raises:
        CalibrationError: There is no calibration data.
    """
    from torchedge.quantization.calibration import entropy
    from torchedge.quantization.clipping import notes_on

    model = read_model(plain)
    known = _shared(model, trained_scales(read_model(quantized)))
    names = float_tensors(model)
    unknown = tuple(name for name in names if name not in known)
    chosen = chosen_ranges(model, unknown, batches, entropy)
    found = known | scales_of(chosen)
    return {name: found[name] for name in names if name in found}, notes_on(chosen)


def _shared(model: onnx.ModelProto, scales: dict[str, float]) -> dict[str, float]:
    known = dict(scales)
    readers = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node:
        if node.op_type in MOVES | _CLIPS and node.input[0] in known:
            known.setdefault(node.output[0], known[node.input[0]])
    for node in reversed(model.graph.node):
        only_reader = readers[node.input[0]] == 1 if node.input else False
        if node.op_type in MOVES | _CLIPS and only_reader and node.output[0] in known:
            known.setdefault(node.input[0], known[node.output[0]])
    return known


def chosen_ranges(
    model: onnx.ModelProto,
    names: tuple[str, ...],
    batches: Iterable[tuple[Array, ...]],
    rule: "RangeRule",
) -> "dict[str, ChosenRange]":
    """What a rule chooses for tensors of a float network, from one batch in memory at a time.

    Raises:
        CalibrationError: There is no calibration data, or it is not finite.
    """
    import torch

    from torchedge.quantization.clipping import chosen_range
    from torchedge.quantization.histogram import Histogram, observe
    from torchedge.scheme import QuantSpec

    histograms: dict[str, Histogram] = {}
    for number, outputs in enumerate(_all_outputs(model, names, batches)):
        for name, values in outputs.items():
            tensor = torch.from_numpy(np.asarray(values, dtype=np.float32))
            try:
                histograms[name] = observe(histograms.get(name), tensor)
            except CalibrationError as error:
                raise CalibrationError(
                    f"calibration batch {number}, at '{name}': {error}"
                ) from error
    if names and not histograms:
        raise CalibrationError(
            "the calibration set is empty; save the model with calibration=(images,), "
            "some 100 to 500 of them."
        )
    spec = QuantSpec()
    return {name: chosen_range(found, spec, rule) for name, found in histograms.items()}


def scales_of(chosen: "dict[str, ChosenRange]") -> dict[str, float]:
    """The scale of each range; 1 for a tensor that is zero throughout, which any scale serves."""
    import torch

    from torchedge.quantization.functional import affine_params

    return {
        name: float(affine_params(torch.tensor(r.low), torch.tensor(r.high), r.spec)[0])
        for name, r in chosen.items()
    }


def _all_outputs(
    model: onnx.ModelProto, names: tuple[str, ...], batches: Iterable[tuple[Array, ...]]
) -> Iterator[dict[str, Array]]:
    inputs = [value.name for value in real_inputs(model)]
    computed = [name for name in names if name not in inputs]
    session = open_observed(model, computed)
    for number, batch in enumerate(batches):
        if len(batch) != len(inputs):
            raise CalibrationError(
                f"calibration batch {number} has {len(batch)} arrays; the network takes "
                f"{len(inputs)}: {', '.join(inputs)}."
            )
        found = dict(zip(computed, session(*batch), strict=True))
        found |= {n: values for n, values in zip(inputs, batch, strict=True) if n in names}
        yield {name: values for name, values in found.items() if _has_range(values)}


def _has_range(values: Array) -> bool:
    """Whether a tensor holds floats at all: the region of a ``Resize`` is often empty."""
    return values.dtype.kind == "f" and values.size > 0
