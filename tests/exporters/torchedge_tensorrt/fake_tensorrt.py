"""Stand-ins for NVIDIA's ``tensorrt`` module: each version with its own members only.

Which members a version has was read from NVIDIA's own bindings. What a version lacks raises
AttributeError, also on assignment, as pybind's classes do. An "engine" is a JSON text that says how
it was asked for.
"""

import enum
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.exporters.torchedge_tensorrt.device_outputs import LAYERS_BEFORE_11, LAYERS_FROM_11

Version = tuple[int, ...]


def fake_tensorrt(version: str) -> SimpleNamespace:
    """The module of a version, for example ``10.3.0.30``."""
    numbers = tuple(int(part) for part in version.split("."))
    members: dict[str, Any] = {
        "__version__": version,
        "Logger": Logger,
        "NetworkDefinitionCreationFlag": _network_flags(numbers),
        "BuilderFlag": _builder_flags(numbers),
        "ProfilingVerbosity": _verbosities(numbers),
        "OnnxParser": OnnxParser,
        "Builder": _builder(numbers),
        "DeviceType": enum.IntEnum("DeviceType", "GPU DLA", start=0),
    }
    if numbers >= (8, 2):
        members["LayerInformationFormat"] = enum.IntEnum("LayerInformationFormat", "ONELINE JSON")
    if numbers >= (8, 4):
        members["MemoryPoolType"] = enum.IntEnum("MemoryPoolType", "WORKSPACE DLA_MANAGED_SRAM")
    if numbers < (11,):
        members["IInt8EntropyCalibrator2"] = IInt8EntropyCalibrator2
    module = SimpleNamespace(**members)
    module.Runtime = _runtime(numbers, module)
    return module


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


def _context(module: SimpleNamespace, precision: str) -> SimpleNamespace:
    def execute_v2(pointers: list[int]) -> bool:
        blocks, folder = module.cudart.blocks, module.cudart.bundle
        given = blocks[pointers[0]]
        inputs = (folder / "golden_input_0.bin").read_bytes()
        outputs = (folder / f"golden_{precision}_output_0.bin").read_bytes()
        count = len(inputs) // len(given)
        size = len(outputs) // count
        n = next(n for n in range(count) if inputs[n * len(given) :][: len(given)] == given)
        blocks[pointers[1]] = outputs[n * size :][:size]
        return True

    return SimpleNamespace(execute_v2=execute_v2)


def _io(numbers: Version) -> dict[str, Any]:
    """Names of inputs and outputs, the way that the version tells them."""
    names = ["input_0", "output_0"]
    found: dict[str, Any] = {}
    if numbers >= (8, 5):
        found |= {"num_io_tensors": 2, "get_tensor_name": names.__getitem__}
    if numbers < (10,):
        found |= {"num_bindings": 2, "get_binding_name": names.__getitem__}
    return found


class Logger:
    WARNING = 2

    def __init__(self, severity: int) -> None:
        self.severity = severity


class IInt8EntropyCalibrator2:
    """Must be initialised explicitly, as a class behind pybind must."""

    def __init__(self) -> None:
        self.initialised = True


class Network:
    def __init__(self, explicit_batch: bool) -> None:
        self.explicit_batch = explicit_batch
        self.onnx = b""


class OnnxParser:
    """Wants an explicit batch, and reads anything but the word ``broken``."""

    def __init__(self, network: Network, logger: Logger) -> None:
        self.network = network
        self.errors: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, index: int) -> str:
        return self.errors[index]

    def parse(self, model: bytes) -> bool:
        if not self.network.explicit_batch:
            self.errors.append("This version of the ONNX parser only supports explicit batch.")
        if model.startswith(b"broken"):
            self.errors.append("Failed to parse ONNX model.")
        self.network.onnx = model
        return not self.errors


def _network_flags(numbers: Version) -> type[enum.IntEnum]:
    names = ["EXPLICIT_BATCH"] if numbers < (11,) else []
    names += ["STRONGLY_TYPED"] if numbers >= (10,) else []
    return enum.IntEnum("NetworkDefinitionCreationFlag", names, start=0)


def _builder_flags(numbers: Version) -> type[enum.IntEnum]:
    names = ["FP16", "INT8"] if numbers < (11,) else []
    return enum.IntEnum("BuilderFlag", [*names, "DEBUG", "GPU_FALLBACK", "TF32"], start=0)


def _verbosities(numbers: Version) -> type[enum.IntEnum]:
    names = ["DEFAULT", "NONE", "VERBOSE"] if numbers < (8, 2) else ["NONE", "DETAILED"]
    return enum.IntEnum("ProfilingVerbosity", names, start=0)


def _config(numbers: Version) -> type:
    slots = ["asked", "profiling_verbosity", "default_device_type", "DLA_core", "timing"]
    slots += ["max_workspace_size"] if numbers < (10,) else []
    slots += ["int8_calibrator"] if numbers < (11,) else []

    def initialise(self: Any) -> None:
        self.asked = {"flags": []}

    def set_flag(self: Any, flag: enum.IntEnum) -> None:
        self.asked["flags"].append(flag.name)

    def set_memory_pool_limit(self: Any, pool: enum.IntEnum, size: int) -> None:
        self.asked[pool.name] = size

    def create_timing_cache(self: Any, earlier: bytes) -> Any:
        return SimpleNamespace(serialize=lambda: earlier + b"+timings")

    def set_timing_cache(self: Any, cache: Any, ignore_mismatch: bool) -> bool:
        self.timing = cache
        return True

    members = {"__slots__": slots, "__init__": initialise, "set_flag": set_flag}
    members |= {"create_timing_cache": create_timing_cache, "set_timing_cache": set_timing_cache}
    members["get_timing_cache"] = lambda self: self.timing
    if numbers >= (8, 4):
        members["set_memory_pool_limit"] = set_memory_pool_limit
    return type("IBuilderConfig", (), members)


def _builder(numbers: Version) -> type:
    class Builder:
        num_DLA_cores = 2  # noqa: N815 - NVIDIA's name

        def __init__(self, logger: Logger) -> None:
            self.logger = logger
            if numbers < (11,):
                self.platform_has_fast_int8 = True

        def create_network(self, flags: int = 0) -> Network:
            return Network(explicit_batch=numbers >= (10,) or bool(flags & 1))

        def create_builder_config(self) -> Any:
            return _config(numbers)()

        def build_serialized_network(self, network: Network, config: Any) -> bytearray | None:
            return _plan(numbers, network, config)

    return Builder


def _plan(numbers: Version, network: Network, config: Any) -> bytearray | None:
    asked = dict(config.asked, quantizers=b"QuantizeLinear" in network.onnx)
    weakly_typed = numbers < (11,)
    if asked["quantizers"] and weakly_typed and "INT8" not in asked["flags"]:
        return None
    if calibrator := getattr(config, "int8_calibrator", None):
        asked["cache"] = _read_cache(numbers, calibrator)
        if asked["cache"] is None:
            return None
    asked["device"] = getattr(getattr(config, "default_device_type", None), "name", "GPU")
    asked["WORKSPACE"] = asked.get("WORKSPACE") or config.max_workspace_size
    asked["verbosity"] = config.profiling_verbosity.name if numbers >= (8, 2) else None
    return bytearray(json.dumps(asked).encode())


def _read_cache(numbers: Version, calibrator: Any) -> str | None:
    """The table, if its header is of this version; else data is asked for, and there is none."""
    assert isinstance(calibrator, IInt8EntropyCalibrator2)
    assert calibrator.initialised
    assert calibrator.get_batch_size() == 1
    unit = 10000 if numbers >= (10,) else 1000
    header = f"TRT-{numbers[0] * unit + numbers[1] * 100 + numbers[2]}-EntropyCalibration2"
    text = bytes(calibrator.read_calibration_cache()).decode()
    if text.split("\n")[0] != header:
        assert calibrator.get_batch(["input_0"]) is None
        return None
    calibrator.write_calibration_cache(text.encode())
    return text


def _runtime(numbers: Version, module: SimpleNamespace) -> type:
    class Runtime:
        def __init__(self, logger: Logger) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytearray) -> Any:
            asked = json.loads(bytes(plan))
            inspector = SimpleNamespace(get_engine_information=lambda form: _layers(numbers, asked))
            precision = "int8" if asked["quantizers"] or asked.get("cache") else "fp16"
            context = _context(module, precision)
            engine = SimpleNamespace(create_execution_context=lambda: context, **_io(numbers))
            if numbers >= (8, 2):
                engine.create_engine_inspector = lambda: inspector
            return engine

    return Runtime


def _layers(numbers: Version, asked: dict[str, Any]) -> str:
    """Layer information; without INT8 scales no layer is in INT8."""
    layers = LAYERS_BEFORE_11 if numbers < (11,) else LAYERS_FROM_11
    text = json.dumps(layers)
    return text if asked["quantizers"] or asked.get("cache") else text.replace("Int8", "FP16")
