"""Times of single layers in ONNX Runtime, for choosing channels by what they really cost."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from torchedge.errors import NotRunError, UsageError
from torchedge.writing import temporary_folder
from torchedge_onnx.session import session_options

if TYPE_CHECKING:
    import onnx
    import onnxruntime

    from torchedge.pruning.latency import LayerShape

__all__ = ["OnnxLayerTimer"]

_OPSET = 18
_LAYERS_A_SESSION = 64
_KERNEL = re.compile(r"(?:layer|y|z)_(\d+)(?:_nchwc)?_kernel_time$")  # fused ones take other names


@final
@dataclass(frozen=True, kw_only=True)
class OnnxLayerTimer:
    """Measures float32 layers by ONNX Runtime's own profiler, on this computer.

    The layers of one session run in turn, each with an activation that the runtime fuses, and the
    shortest of some runs counts. What is before and after a layer, such as a change of memory
    layout, is not in its time.

    Args:
        runs: How often each layer runs.
        threads: Of a session; 0 leaves the choice to ONNX Runtime.

    Example:
        >>> from torchedge.pruning.latency import LayerShape
        >>> (ms,) = OnnxLayerTimer(runs=3)([LayerShape(inputs=16, outputs=16)])
        >>> ms > 0
        True
    """

    runs: int = 15
    threads: int = 0
    times_activations: ClassVar[bool] = True

    def __call__(self, shapes: "Sequence[LayerShape]") -> list[float]:
        """Milliseconds of one call of each layer.

        Raises:
            UsageError: ``runs`` is below 1.
            MissingDependencyError: onnxruntime is not installed.
            NotRunError: The runtime's profile does not name a layer.
        """
        if self.runs < 1:
            raise UsageError(f"{self.runs} runs measure nothing; give at least 1.")
        times: list[float] = []
        for begin in range(0, len(shapes), _LAYERS_A_SESSION):
            times += self._measured(shapes[begin : begin + _LAYERS_A_SESSION])
        return times

    def _measured(self, shapes: "Sequence[LayerShape]") -> list[float]:
        import numpy as np

        with temporary_folder("onnx") as folder:
            options = self._options(folder)
            import onnxruntime

            session = onnxruntime.InferenceSession(
                _model(shapes).SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            for _ in range(self.runs + 1):  # the first one reserves memory
                session.run(None, {"seed": np.ones((), np.float32)})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return _shortest_ms(events, shapes)

    def _options(self, folder: Path) -> "onnxruntime.SessionOptions":
        options = session_options()
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        options.intra_op_num_threads = self.threads
        return options


def _shortest_ms(
    events: Sequence[Mapping[str, object]], shapes: "Sequence[LayerShape]"
) -> list[float]:
    times: list[list[float]] = [[] for _ in shapes]
    for event in events:
        found = _KERNEL.search(str(event.get("name", "")))
        if found:
            times[int(found[1])].append(float(str(event["dur"])) / 1e3)
    for shape, each in zip(shapes, times, strict=True):
        if not each:
            raise NotRunError(
                f"ONNX Runtime's profile has no time of {shape}; it names its kernels otherwise "
                "than this version of torchedge knows. Give another timer, or none."
            )
    return [min(each) for each in times]


def _model(shapes: "Sequence[LayerShape]") -> "onnx.ModelProto":
    """Layers beside each other, all fed from one number so that nothing is constant."""
    from onnx import TensorProto, helper

    nodes, initializers, outputs = [], [], []
    for number, shape in enumerate(shapes):
        made, tensors = _layer(number, shape)
        nodes += made
        initializers += tensors
        outputs.append(helper.make_tensor_value_info(f"most_{number}", TensorProto.FLOAT, None))
    seed = helper.make_tensor_value_info("seed", TensorProto.FLOAT, [])
    graph = helper.make_graph(nodes, "layers", [seed], outputs, initializers)
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def _layer(
    number: int, shape: "LayerShape"
) -> "tuple[list[onnx.NodeProto], list[onnx.TensorProto]]":
    import numpy as np
    from onnx import helper, numpy_helper

    def name(what: str) -> str:
        return f"{what}_{number}"

    if shape.operation:
        return _activation(number, shape)
    size = (shape.batch, shape.inputs, *shape.size)
    weight = (shape.outputs, shape.inputs // shape.groups, *shape.kernel)
    values = np.random.default_rng(0).normal(size=weight).astype(np.float32)
    tensors = [
        numpy_helper.from_array(np.array(size, np.int64), name("size")),
        numpy_helper.from_array(values if shape.kernel else values.T.copy(), name("weight")),
        numpy_helper.from_array(np.zeros(shape.outputs, np.float32), name("bias")),
    ]
    inputs = [name("x"), name("weight"), name("bias")]
    attributes = _attributes(shape)
    operation = helper.make_node(
        "Conv" if shape.kernel else "Gemm", inputs, [name("y")], f"layer_{number}", **attributes
    )
    nodes = [
        helper.make_node("Expand", ["seed", name("size")], [name("x")]),
        operation,
        helper.make_node("Relu", [name("y")], [name("z")]),
        helper.make_node("ReduceMax", [name("z")], [name("most")], keepdims=0),
    ]
    return nodes, tensors


def _activation(
    number: int, shape: "LayerShape"
) -> "tuple[list[onnx.NodeProto], list[onnx.TensorProto]]":
    import numpy as np
    from onnx import helper, numpy_helper

    x, y, size, most = (f"{what}_{number}" for what in ("x", "y", "size", "most"))
    sizes = np.array((shape.batch, shape.inputs, *shape.size), np.int64)
    inputs = [x, x] if shape.operation == "Mul" else [x]
    nodes = [
        helper.make_node("Expand", ["seed", size], [x]),
        helper.make_node(shape.operation, inputs, [y], f"layer_{number}"),
        helper.make_node("ReduceMax", [y], [most], keepdims=0),
    ]
    return nodes, [numpy_helper.from_array(sizes, size)]


def _attributes(shape: "LayerShape") -> dict[str, Any]:
    if not shape.kernel:
        return {}
    return {
        "kernel_shape": shape.kernel,
        "strides": shape.stride,
        "pads": (*shape.padding, *shape.padding),
        "dilations": shape.dilation,
        "group": shape.groups,
    }
