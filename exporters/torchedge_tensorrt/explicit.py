"""Q/DQ written into a float ONNX file of any origin, with the scales of a calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from torchedge.errors import ExportError
from torchedge_tensorrt.jetpacks import Version

if TYPE_CHECKING:
    import onnx

    from torchedge_onnx.graph import Constant
    from torchedge_onnx.qdq import Pair
    from torchedge_tensorrt.places import Places

__all__ = ["ExplicitModel", "explicit_model", "require_explicit"]

_FIRST_WITH_AXIS = 13  # scales for each channel


@final
@dataclass(frozen=True, kw_only=True)
class ExplicitModel:
    """A float network with Q/DQ pairs.

    Args:
        model: The graph.
        scales: Of the calibration, where a concatenation, its operands and what only moves its
            values share the largest of theirs.
        layers: How many layers are quantised.
        float_layers: Those that stay in float, and why.
        plain: The same without pairs, to be held against the file.
    """

    model: "onnx.ModelProto"
    scales: dict[str, float]
    layers: int
    float_layers: dict[str, str]
    plain: "onnx.ModelProto"


def explicit_model(
    path: Path,
    scales: Mapping[str, float],
    tensorrt: Version,
    *,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
) -> ExplicitModel:
    """Put pairs where TensorRT fuses layers around them, and hold the result against its rules.

    Weights get a symmetric scale for each output channel, ``max|w| / 127``; they stay float values
    before their pair. Biases stay in float. First zero pads are folded into their convolutions, and
    a mean over all positions becomes a pool, which runs in INT8.

    Args:
        path: Float ONNX file of opset 13 or newer.
        scales: One for each float tensor, from :func:`.host_calibration.calibrate_onnx`.
        tensorrt: The version that is to read the result.
        shapes: Of inputs whose sizes are open, by name; ``None`` leaves a size open.

    Raises:
        ArtifactError: The file is damaged, or has Q/DQ.
        UsageError: It is no plain network of tensors.
        ExportError: It cannot be written at opset 13, no layer can be quantised, or a rule would be
            broken.
    """
    from torchedge_onnx.foreign_graph import at_opset
    from torchedge_onnx.foreign_sizes import with_shapes
    from torchedge_onnx.graph import opset_of
    from torchedge_onnx.integer_forms import fold_padding
    from torchedge_onnx.qdq import with_pairs
    from torchedge_onnx.rewrites import mean_to_global_pool
    from torchedge_tensorrt.places import explicit_places
    from torchedge_tensorrt.rule_graph import rule_graph
    from torchedge_tensorrt.rules import broken_rules
    from torchedge_tensorrt.scales import float_model

    source = float_model(path)
    if opset_of(source) < _FIRST_WITH_AXIS:
        source = at_opset(path, source, _FIRST_WITH_AXIS)
    source = mean_to_global_pool(fold_padding(with_shapes(source, shapes or {})))
    graph = rule_graph(source)
    places = explicit_places(graph, frozenset(scales))
    layers = sum(len(readers) for readers in places.weights.values())
    if not layers:
        raise ExportError(f"'{path}' has {_nothing(places.float_layers)}.")
    shared = _shared(scales, places.groups)
    model = with_pairs(source, (*_activations(places, shared), *_weights(graph.values, places)))
    for violation in broken_rules(model, tensorrt):
        raise ExportError(f"{violation.rule} '{violation.node}': {violation.text}.")
    return ExplicitModel(
        model=model,
        scales=shared,
        layers=layers,
        float_layers=places.float_layers,
        plain=source,
    )


def require_explicit(path: Path, tensorrt: Version) -> None:
    """Refuse what :func:`explicit_model` would refuse, before a calibration has found scales.

    Raises:
        ArtifactError: The file is damaged, or has Q/DQ.
        ExportError: As :func:`explicit_model`.
    """
    from torchedge_tensorrt.scales import float_model, float_tensors

    explicit_model(path, dict.fromkeys(float_tensors(float_model(path)), 1.0), tensorrt)


def _nothing(float_layers: Mapping[str, str]) -> str:
    """Why there is no layer to quantise."""
    for name, reason in float_layers.items():
        return f"no layer that can be quantised; of '{name}', {reason}"
    return "no convolution, Gemm or MatMul to quantise"


def _shared(scales: Mapping[str, float], groups: dict[str, str]) -> dict[str, float]:
    largest: dict[str, float] = {}
    for name, group in groups.items():
        largest[group] = max(largest.get(group, 0.0), scales[name])
    return {n: largest[groups[n]] if n in groups else scale for n, scale in scales.items()}


def _activations(places: "Places", scales: Mapping[str, float]) -> "list[Pair]":
    from torchedge_onnx.qdq import Pair

    return [
        Pair(
            tensor=name,
            scale=np.array(scales[name], np.float32),
            zero_point=np.array(0, np.int8),
            readers=tuple(readers),
        )
        for name, readers in places.activations.items()
    ]


def _weights(values: "Mapping[str, Constant]", places: "Places") -> "list[Pair]":
    import torch

    from torchedge.quantization.scales import weight_params
    from torchedge.scheme import QuantSpec
    from torchedge_onnx.qdq import Pair

    pairs = []
    for (name, axis), readers in places.weights.items():
        weight = torch.from_numpy(np.array(values[name], np.float32))
        if not torch.isfinite(weight).all():
            raise ExportError(f"weight '{name}' holds NaN or infinity; check the network.")
        found = weight_params(weight, QuantSpec(axis=axis, narrow=True))[0].numpy()
        pairs.append(
            Pair(
                tensor=name,
                scale=found,
                zero_point=np.zeros(found.shape, np.int8),
                readers=tuple(readers),
                axis=axis,
            )
        )
    return pairs
