"""Which attributes the rules of this room understand; an operation with any other is refused.

A rule that reads only the attributes it knows would write another function for the rest.
"""

from collections.abc import Mapping

import numpy as np

from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Network, Operation, Value

__all__ = ["require_understood"]

_ANY = frozenset[object]()  # whatever the value
_NO, _YES_OR_NO = frozenset({0}), frozenset({0, 1})
_WINDOWS = dict.fromkeys(("auto_pad", "dilations", "kernel_shape", "pads", "strides"), _ANY)
_REDUCED = {"axes": _ANY, "keepdims": _YES_OR_NO, "noop_with_empty_axes": _NO}

_UNDERSTOOD: Mapping[str, Mapping[str, frozenset[object]]] = {
    "AveragePool": {**_WINDOWS, "ceil_mode": _YES_OR_NO, "count_include_pad": _YES_OR_NO},
    "BatchNormalization": {"epsilon": _ANY, "momentum": _ANY, "training_mode": _NO},
    "Concat": {"axis": _ANY},
    "Conv": {**_WINDOWS, "group": _ANY},
    "ConvTranspose": {
        **_WINDOWS,
        "auto_pad": frozenset({"NOTSET"}),
        "group": _ANY,
        "output_padding": _ANY,
    },
    "DepthToSpace": {"blocksize": _ANY, "mode": frozenset({"CRD", "DCR"})},
    "Dropout": {"seed": _ANY},
    "Einsum": {"equation": _ANY},
    "Elu": {"alpha": frozenset({1.0})},
    "Flatten": {"axis": _ANY},
    "Gather": {"axis": _ANY},
    "GatherND": {"batch_dims": _ANY},
    "Gelu": {"approximate": frozenset({"none", "tanh"})},
    "Gemm": dict.fromkeys(("alpha", "beta", "transA", "transB"), _ANY),
    "HardSigmoid": {"alpha": _ANY, "beta": _ANY},
    "InstanceNormalization": {"epsilon": _ANY},
    "LayerNormalization": {"axis": _ANY, "epsilon": _ANY, "stash_type": _ANY},
    "LeakyRelu": {"alpha": _ANY},
    "MaxPool": {**_WINDOWS, "ceil_mode": _YES_OR_NO, "storage_order": _ANY},
    "Pad": {"mode": _ANY},
    "ReduceL2": _REDUCED,
    "ReduceMax": _REDUCED,
    "ReduceMean": _REDUCED,
    "ReduceSum": _REDUCED,
    "Reshape": {"allowzero": _YES_OR_NO},  # of empty tensors, which are refused anyway
    "Resize": {
        **dict.fromkeys(("axes", "coordinate_transformation_mode", "cubic_coeff_a"), _ANY),
        **dict.fromkeys(("extrapolation_value", "mode", "nearest_mode"), _ANY),
        **dict.fromkeys(("antialias", "exclude_outside"), _NO),
        "keep_aspect_ratio_policy": frozenset({"stretch"}),
    },
    "Softmax": {"axis": _ANY},
    "SpaceToDepth": {"blocksize": _ANY, "mode": frozenset({"DCR"})},
    "Split": {"axis": _ANY, "num_outputs": _ANY},
    "Squeeze": {"axes": _ANY},
    "Transpose": {"perm": _ANY},
    "Unsqueeze": {"axes": _ANY},
}


def require_understood(network: Network) -> None:
    """Refuse operations whose attributes or further results no rule knows.

    Raises:
        ExportError: There is one; the text names the node, the attribute and its value.
    """
    read = {value.name for value in network.outputs.values()}
    for operation in network.operations:
        read |= {o.name for o in operation.operands if isinstance(o, Value)}
    for operation in network.operations:
        _require_attributes(operation)
        _require_one_result(operation, read)
        if operation.kind == "Dropout":
            _require_no_training(operation)


def _require_attributes(operation: Operation) -> None:
    known = _UNDERSTOOD.get(operation.kind, {})
    for name, value in operation.attributes.items():
        plain = value.decode() if isinstance(value, bytes) else value
        allowed = known.get(name)
        if allowed is None or (allowed and plain not in allowed):
            raise ExportError(
                f"'{operation.name}' ({operation.kind}) has {name}={plain!r}, which is not written "
                "to TFLite files here; use another form of that operation."
            )


def _require_one_result(operation: Operation, read: set[str]) -> None:
    more = [r.name for r in operation.results[1:] if r.name in read]
    if more and operation.kind != "Split":
        raise ExportError(
            f"'{operation.name}' ({operation.kind}) also returns '{more[0]}', which is not written "
            "to TFLite files here; return the first result alone."
        )


def _require_no_training(operation: Operation) -> None:
    training = operation.operands[2] if len(operation.operands) > 2 else None
    if training is not None and not (
        isinstance(training, Constant) and not np.any(training.values)
    ):
        raise ExportError(f"'{operation.name}' drops values at random; export in evaluation mode.")
