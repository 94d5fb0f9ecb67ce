"""Stand-ins for NVIDIA's ``tensorrt`` module: each version with its own members only.

Every class is made from ``tensorrt_members``: what a version lacks raises AttributeError, also on
assignment, as pybind's classes do. What is there and has no behaviour here raises
NotImplementedError when it is called. An "engine" is a JSON text that says how it was asked for.
"""

import enum
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.exporters.torchedge_tensorrt.device_outputs import LAYERS_BEFORE_11, LAYERS_FROM_11
from tests.exporters.torchedge_tensorrt.tensorrt_members import (
    Version,
    classes_in,
    members_of,
)

IO_NAMES = ["input_0", "output_0"]


def fake_tensorrt(version: str) -> SimpleNamespace:
    """The module of a version, for example ``10.3.0.30``."""
    numbers = tuple(int(part) for part in version.split("."))
    module = SimpleNamespace(__version__=version)
    for name in classes_in(numbers):
        setattr(module, name, _class_of(name, numbers, module))
    for name in members_of("module", numbers):
        if not hasattr(module, name):
            known = name == "IInt8EntropyCalibrator2"
            setattr(module, name, IInt8EntropyCalibrator2 if known else _without_behaviour(name))
    return module


def _class_of(name: str, version: Version, module: SimpleNamespace) -> type:
    names = members_of(name, version)
    if name in ENUMS:
        return enum.IntEnum(name, names, start=0)
    behaviour = BEHAVIOURS.get(name, object)
    kept = {k: v for k, v in vars(behaviour).items() if k.startswith("_") or k in names}
    for internal in ("__dict__", "__weakref__"):
        kept.pop(internal, None)

    def set_known(self: Any, item: str, value: object) -> None:
        if not item.startswith("_") and item not in names:
            raise AttributeError(f"{name} of TensorRT {module.__version__} has no '{item}'")
        object.__setattr__(self, item, value)

    absent = {n: _without_behaviour(f"{name}.{n}") for n in names if n not in kept}
    made = {**absent, **kept, "__setattr__": set_known, "_module": module, "_version": version}
    return type(name, (), made)


def _without_behaviour(name: str) -> Callable[..., Any]:
    def called(*_: object) -> None:
        raise NotImplementedError(f"{name} of the fake does nothing")

    return called


class FakeCudart:
    """libcudart with memory in a dictionary."""

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle
        self.blocks: dict[int, bytes] = {}

    def cudaMalloc(self, reference: Any, size: Any) -> int:  # noqa: N802 - CUDA's name
        address = 4096 * (len(self.blocks) + 1)
        self.blocks[address] = bytes(size.value)
        reference._obj.value = address
        return 0

    def cudaMemcpy(self, to: Any, source: Any, size: Any, kind: int) -> int:  # noqa: N802
        if kind == 1:
            self.blocks[to.value] = bytes(source)
        else:
            to[: size.value] = self.blocks[source.value]
        return 0

    def cudaFree(self, pointer: Any) -> int:  # noqa: N802
        return 0 if self.blocks.pop(pointer.value, None) is not None else 1


class Logger:
    WARNING = 2

    def __init__(self, severity: int) -> None:
        self._severity = severity


class IInt8EntropyCalibrator2:
    """Must be initialised explicitly, as a class behind pybind must."""

    def __init__(self) -> None:
        self.initialised = True


class INetworkDefinition:
    def __init__(self, *, explicit_batch: bool) -> None:
        self._explicit_batch = explicit_batch
        self._onnx = b""
        self._parser_flags: list[str] = []


class OnnxParser:
    """Wants an explicit batch, and reads anything but the word ``broken``."""

    def __init__(self, network: INetworkDefinition, logger: Logger) -> None:
        assert isinstance(logger, self._module.Logger)
        self._network = network
        self._errors: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> str:
        return self._errors[index]

    def set_flag(self, flag: enum.IntEnum) -> None:
        self._network._parser_flags.append(flag.name)

    def parse(self, model: bytes) -> bool:
        if not self._network._explicit_batch:
            self._errors.append("This version of the ONNX parser only supports explicit batch.")
        if model.startswith(b"broken"):
            self._errors.append("Failed to parse ONNX model.")
        self._network._onnx = model
        return not self._errors


class ITimingCache:
    def __init__(self, earlier: bytes) -> None:
        self._earlier = earlier

    def serialize(self) -> bytes:
        return self._earlier + b"+timings"


class IBuilderConfig:
    def __init__(self) -> None:
        self._asked: dict[str, Any] = {"flags": []}

    def set_flag(self, flag: enum.IntEnum) -> None:
        assert isinstance(flag, self._module.BuilderFlag)
        self._asked["flags"].append(flag.name)

    def set_memory_pool_limit(self, pool: enum.IntEnum, size: int) -> None:
        self._asked[pool.name] = size

    def create_timing_cache(self, earlier: bytes) -> Any:
        return self._module.ITimingCache(earlier)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self._timing = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._timing


class Builder:
    num_DLA_cores = 2  # noqa: N815 - NVIDIA's name
    platform_has_fast_int8 = True

    def __init__(self, logger: Logger) -> None:
        assert isinstance(logger, self._module.Logger)

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        explicit = self._version >= (10,) or bool(flags & 1)
        return self._module.INetworkDefinition(explicit_batch=explicit)

    def create_builder_config(self) -> IBuilderConfig:
        return self._module.IBuilderConfig()

    def build_serialized_network(self, network: Any, config: Any) -> bytearray | None:
        return _plan(self._version, network, config)


class Runtime:
    def __init__(self, logger: Logger) -> None:
        assert isinstance(logger, self._module.Logger)

    def deserialize_cuda_engine(self, plan: bytearray) -> Any:
        return self._module.ICudaEngine(json.loads(bytes(plan)))


class ICudaEngine:
    num_io_tensors = num_bindings = len(IO_NAMES)

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked

    def get_tensor_name(self, index: int) -> str:
        return IO_NAMES[index]

    def get_binding_name(self, index: int) -> str:
        return IO_NAMES[index]

    def create_execution_context(self) -> Any:
        return self._module.IExecutionContext(self._asked)

    def create_engine_inspector(self) -> Any:
        return self._module.EngineInspector(self._asked)


class EngineInspector:
    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked

    def get_engine_information(self, form: enum.IntEnum) -> str:
        """Layer information; without INT8 scales no layer is in INT8."""
        assert form.name == "JSON"
        layers = LAYERS_BEFORE_11 if self._version < (11,) else LAYERS_FROM_11
        text = json.dumps(layers)
        return text if _is_int8(self._asked) else text.replace("Int8", "FP16")


class IExecutionContext:
    """Finds the golden sample it is given, and answers what the bundle expects of it."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked

    def execute_v2(self, pointers: list[int]) -> bool:
        blocks, folder = self._module.cudart.blocks, self._module.cudart.bundle
        precision = "int8" if _is_int8(self._asked) else "fp16"
        given = blocks[pointers[0]]
        inputs = (folder / "golden_input_0.bin").read_bytes()
        outputs = (folder / f"golden_{precision}_output_0.bin").read_bytes()
        count = len(inputs) // len(given)
        size = len(outputs) // count
        n = next(n for n in range(count) if inputs[n * len(given) :][: len(given)] == given)
        blocks[pointers[1]] = outputs[n * size :][:size]
        return True


def _is_int8(asked: dict[str, Any]) -> bool:
    return bool(asked["quantizers"] or asked.get("cache"))


def _plan(version: Version, network: Any, config: Any) -> bytearray | None:
    given = vars(config)
    asked = dict(config._asked, quantizers=b"QuantizeLinear" in network._onnx)
    if asked["quantizers"] and version < (11,) and "INT8" not in asked["flags"]:
        return None
    if given.get("int8_calibrator"):
        asked["cache"] = _read_cache(version, given["int8_calibrator"])
        if asked["cache"] is None:
            return None
    asked["device"] = given["default_device_type"].name if "DLA_core" in given else "GPU"
    asked["core"] = given.get("DLA_core")
    if asked["device"] == "DLA" and version < (11,) and asked["quantizers"]:
        return None  # it takes no explicit scales there
    asked["parser_flags"] = network._parser_flags
    asked["WORKSPACE"] = asked.get("WORKSPACE") or given["max_workspace_size"]
    asked["verbosity"] = given["profiling_verbosity"].name if version >= (8, 2) else None
    asked["half"] = b"graph_input_cast" in network._onnx  # as ONNX Runtime's converter names it
    return bytearray(json.dumps(asked).encode())


def _read_cache(version: Version, calibrator: Any) -> str | None:
    """The table, if its header is of this version; else data is asked for, and there is none."""
    assert isinstance(calibrator, IInt8EntropyCalibrator2)
    assert calibrator.initialised
    assert calibrator.get_batch_size() == 1
    unit = 10000 if version >= (10,) else 1000
    header = f"TRT-{version[0] * unit + version[1] * 100 + version[2]}-EntropyCalibration2"
    text = bytes(calibrator.read_calibration_cache()).decode()
    if text.split("\n")[0] != header:
        assert calibrator.get_batch(["input_0"]) is None
        return None
    calibrator.write_calibration_cache(text.encode())
    return text


ENUMS = {
    *("BuilderFlag", "DataType", "DeviceType", "EngineCapability", "HardwareCompatibilityLevel"),
    *("LayerInformationFormat", "MemoryPoolType", "NetworkDefinitionCreationFlag"),
    *("OnnxParserFlag", "ProfilingVerbosity", "RuntimePlatform", "TacticSource"),
}
BEHAVIOURS: dict[str, type] = {
    behaviour.__name__: behaviour
    for behaviour in (
        *(Builder, EngineInspector, IBuilderConfig, ICudaEngine, IExecutionContext),
        *(INetworkDefinition, ITimingCache, Logger, OnnxParser, Runtime),
    )
}
