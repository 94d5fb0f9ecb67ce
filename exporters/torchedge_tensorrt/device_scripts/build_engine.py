#!/usr/bin/env python3
"""Builds the engines on this Jetson from the bundle beside this file, and proves what they are.

Needs nothing but the board's own Python (3.6 or newer) and TensorRT: its Python module, or trtexec.
"""

import argparse
import array
import ctypes
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile

TYPE_CHECKING = False  # mypy takes it for true
if TYPE_CHECKING:
    import typing

    import tensorrt

    from torchedge_tensorrt.api import TensorRT

HERE = os.path.dirname(os.path.abspath(__file__))
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
LEAST_COSINE = 0.99
FLOOR_MIB = 512  # of free memory, chosen with care and not measured; plus a share of the model
ENGINES = "engines.json"
FP16_ENGINE = "model_fp16.engine"
HALF_FILE = "model_fp16.onnx"  # for TensorRT 11, which takes types from the file


class BuildError(Exception):
    """One line that says what is wrong and what to do."""


# --- the bundle -----------------------------------------------------------------------------------


def read_manifest(folder):
    """The manifest, after every file was compared with its hash."""
    path = os.path.join(folder, "manifest.json")
    if not os.path.exists(path):
        raise BuildError("manifest.json is missing beside this script; copy the whole folder again.")
    try:
        with open(path) as stream:
            manifest = json.load(stream)
        files = sorted(manifest["files"].items())
    except (ValueError, KeyError, AttributeError, TypeError):
        raise BuildError("manifest.json is damaged; copy the whole folder again.")
    for name, record in files:
        if os.path.isabs(name) or ".." in name.replace("\\", "/").split("/"):
            raise BuildError("manifest.json names {}, which is outside this folder.".format(repr(name)))
        check_file(os.path.join(folder, name), name, record)
    return manifest


def check_file(path, name, record):
    """Refuse a file that is missing or was changed on the way."""
    if not os.path.exists(path):
        raise BuildError("{} is missing; copy the whole folder again.".format(name))
    if sha256_of(path) != record["sha256"]:
        raise BuildError("{} does not match its SHA-256; copy it again.".format(name))


def sha256_of(path):
    """Digest of a file, read in chunks."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def check_pair(folder):
    """Refuse a calibration cache that was made for another model."""
    try:
        with open(os.path.join(folder, "calibration.json")) as stream:
            record = json.load(stream)
        with open(os.path.join(folder, "calibration.cache"), "rb") as stream:
            scales = stream.read().partition(b"\n")[2]
    except (IOError, OSError, ValueError):
        raise BuildError("calibration.cache or calibration.json is missing; copy the whole folder again.")
    if record.get("model_sha256") != sha256_of(os.path.join(folder, "model_fp32.onnx")):
        raise BuildError("calibration.cache was made for another model; export this model again.")
    if record.get("scales_sha256") != hashlib.sha256(scales).hexdigest():
        raise BuildError("calibration.cache was changed after the calibration; copy it again.")


# --- the board ------------------------------------------------------------------------------------


def device_model():
    """What the board calls itself, or an empty string."""
    return read_text("/proc/device-tree/model")


def l4t_release():
    """'36.4.7' from '# R36 (release), REVISION: 4.7, ...', or an empty string."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", read_text("/etc/nv_tegra_release"))
    return "{}.{}".format(*found.groups()) if found else ""


def read_text(path):
    """Contents of a small file, or an empty string."""
    try:
        with open(path) as stream:
            return stream.read().strip("\0\n ")
    except (IOError, OSError):
        return ""


def shown(text):
    """Text of a manifest or a log for the terminal: nothing that moves its cursor, nothing it cannot encode."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
    encoding = sys.stdout.encoding or "ascii"
    return plain.encode(encoding, "backslashreplace").decode(encoding)


def check_device(model, any_device, precision="int8"):
    """INT8 needs a GPU that has it; an unknown board is refused unless asked for."""
    old = re.search(r"Jetson (Nano|TX1|TX2)|quill", model)  # quill: a TX2 as JetPack 4 may name it
    if old and precision == "int8":
        raise BuildError(
            "{} has no INT8 arithmetic (its GPU is sm_53 or sm_62); use an Orin or Xavier, "
            "or --precision fp16.".format(model)
        )
    if not old and not re.search(r"Orin|Xavier|Thor|Jetson-AGX", model) and not any_device:
        raise BuildError(
            "this machine says it is '{}', not a Jetson with INT8; --any-device builds for it "
            "all the same, and that engine runs only here.".format(model or "no Jetson")
        )


def check_board(model, details, any_device):
    """A bundle is made for one kind of board; another one is refused unless asked for."""
    names = details.get("device_model_names") or []
    if names and not any_device and not any(name in model for name in names):
        raise BuildError(
            "this bundle is for {}, and this board says it is '{}'; export for this board, or add "
            "--any-device.".format(details.get("device"), model)
        )


def check_memory(folder, options, version, available_mib=None):
    """Refuse to begin what the kernel would end."""
    if available_mib is None:
        found = re.search(r"MemAvailable:\s+(\d+) kB", read_text("/proc/meminfo"))
        available_mib = int(found.group(1)) // 1024 if found else None
    path = os.path.join(folder, model_file(options, version))
    size = os.path.getsize(path) if os.path.exists(path) else 0  # check_options says what is missing
    needed_mib = FLOOR_MIB + 4 * (size // (1 << 20))
    if available_mib is not None and available_mib < needed_mib:
        raise BuildError(
            "{} MiB of memory are free and the build should have {}; close programs (the desktop "
            "first) or add swap.".format(available_mib, needed_mib)
        )


def check_version(version, details):
    """Refuse a TensorRT whose parser does not state this opset, or that nobody has read about."""
    least, below = version_numbers(details.get("tensorrt_at_least", "8.0")), version_numbers(
        details.get("tensorrt_below", "12.0")
    )
    if tuple(version) < least or tuple(version) >= below:
        raise BuildError(
            "this board has TensorRT {}; the models (opset {}) are for {} up to {}. Export with "
            "--jetpack of this board.".format(
                dotted(version), details.get("opset"), dotted(least), dotted(below)
            )
        )


def version_numbers(text):
    """(10, 3, 0) from '10.3.0.26'."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def dotted(version):
    """'10.3.0' from (10, 3, 0)."""
    return ".".join(str(part) for part in version)


def cache_header(version):
    """First line of a calibration cache for a TensorRT version."""
    major, minor, patch = (tuple(version) + (0, 0))[:3]
    unit = 10000 if major >= 10 else 1000
    return "TRT-{}-EntropyCalibration2".format(major * unit + minor * 100 + patch)


def localised_cache(folder, version):
    """The calibration cache with the header that this TensorRT accepts."""
    with open(os.path.join(folder, "calibration.cache")) as stream:
        lines = stream.read().split("\n")
    lines[0] = cache_header(version)
    return "\n".join(lines)


# --- options --------------------------------------------------------------------------------------


def check_options(options, version, has_calibrators, has_fp16):
    """Refuse what this TensorRT cannot be asked for, instead of building something else."""
    name = dotted(version)
    if options.calibration == "cache" and options.precision == "fp16":
        raise BuildError("FP16 needs no INT8 scales; leave out --calibration cache.")
    if options.calibration == "cache" and not has_calibrators:
        raise BuildError("TensorRT {} has no calibrators; leave out --calibration cache.".format(name))
    if options.precision == "fp16" and not has_fp16:
        raise BuildError(
            "TensorRT {} takes its precision from the ONNX file, and this bundle has no {}; leave out "
            "--precision fp16.".format(name, HALF_FILE)
        )
    if options.dla is not None:
        check_dla(options, tuple(version))


def check_dla(options, version):
    """What the deep learning accelerator asks of the version and of the scales."""
    if (10, 8) <= version < (11, 4, 1):
        raise BuildError(
            "TensorRT {} has no deep learning accelerator as far as NVIDIA states (10.7 was the "
            "last, 11.4.1 has it again); leave out --dla.".format(dotted(version))
        )
    if version < (11,) and options.precision == "int8" and options.calibration != "cache":
        raise BuildError("the accelerator takes no Q/DQ before TensorRT 11; add --calibration cache.")


def check_static(manifest):
    """The accelerator runs fixed shapes only."""
    for spec in manifest.get("inputs", []):
        if not all(isinstance(size, int) and size > 0 for size in spec["shape"]):
            raise BuildError(
                "input '{}' has the open shape {}, which the accelerator cannot run; export a fixed "
                "one.".format(spec["name"], spec["shape"])
            )


def model_file(options, version):
    """The ONNX file that fits the kind of calibration, and from TensorRT 11 on the precision."""
    if options.precision == "fp16" and tuple(version) >= (11,):
        return HALF_FILE
    return "model_fp32.onnx" if options.calibration == "cache" or options.precision == "fp16" else "model_qdq.onnx"


def has_half(folder):
    """Whether TensorRT 11 can build in FP16 from this bundle."""
    return os.path.exists(os.path.join(folder, HALF_FILE))


# --- building with the module ---------------------------------------------------------------------


def build_with_module(trt: "TensorRT", folder, options):
    """Engine bytes and layer information, through the tensorrt module."""
    version = version_numbers(trt.__version__)
    has_fp16 = hasattr(trt.BuilderFlag, "FP16") or has_half(folder)
    check_options(options, version, hasattr(trt, "IInt8EntropyCalibrator2"), has_fp16)
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    check_builder(builder, options)
    flags = 0
    if hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH"):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if options.dla is not None and hasattr(trt, "OnnxParserFlag") and hasattr(trt.OnnxParserFlag, "ADJUST_FOR_DLA"):
        parser.set_flag(trt.OnnxParserFlag.ADJUST_FOR_DLA)
    parse(parser, os.path.join(folder, model_file(options, version)))
    config = builder.create_builder_config()
    configure(trt, config, options)
    calibrator = None
    if options.calibration == "cache":
        calibrator = cache_only_calibrator(trt, localised_cache(folder, version).encode())
        config.int8_calibrator = calibrator
    timing = load_timing_cache(config, options)
    plan = builder.build_serialized_network(network, config)
    if calibrator is not None and (calibrator.asked_for_data or not calibrator.was_read):
        raise BuildError("TensorRT did not read calibration.cache; the engine is not used.")
    if plan is None:
        raise BuildError("TensorRT could not build the engine; its messages are above.")
    if timing:
        save_timing_cache(config, options)
    return bytes(plan), engine_layers(trt, logger, plan)


def check_builder(builder: "tensorrt.Builder", options):
    """Ask the GPU itself, where this version answers."""
    if options.precision == "int8" and not getattr(builder, "platform_has_fast_int8", True):
        raise BuildError("this GPU has no INT8 arithmetic; use --precision fp16.")
    if options.dla is not None and options.dla >= getattr(builder, "num_DLA_cores", 0):
        raise BuildError(
            "DLA core {} is not here, there are {}; leave out --dla.".format(
                options.dla, getattr(builder, "num_DLA_cores", 0)
            )
        )


def parse(parser: "tensorrt.OnnxParser", path):
    """Read the ONNX file, or fail with the parser's own words."""
    with open(path, "rb") as stream:
        if parser.parse(stream.read()):
            return
    messages = [str(parser.get_error(index)) for index in range(parser.num_errors)]
    raise BuildError("TensorRT cannot read {}: {}".format(os.path.basename(path), "; ".join(messages)))


def configure(trt: "TensorRT", config: "tensorrt.IBuilderConfig", options):
    """Workspace, precisions, accelerator and detailed layer information, where this version has them."""
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    else:
        setattr(config, "max_workspace_size", options.workspace_mib << 20)  # before TensorRT 8.4
    for name in ("FP16",) if options.precision == "fp16" else ("INT8", "FP16"):
        if hasattr(trt.BuilderFlag, name):
            config.set_flag(getattr(trt.BuilderFlag, name))
    if options.dla is not None:
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options.dla
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if hasattr(trt.ProfilingVerbosity, "DETAILED"):  # from TensorRT 8.2
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED


def load_timing_cache(config: "tensorrt.IBuilderConfig", options):
    """Reuse kernel timings of earlier builds; False where this version has no such thing."""
    if not hasattr(config, "create_timing_cache"):
        return False
    earlier = b""
    if os.path.exists(options.timing_cache):
        with open(options.timing_cache, "rb") as stream:
            earlier = stream.read()
    return bool(config.set_timing_cache(config.create_timing_cache(earlier), False))


def save_timing_cache(config: "tensorrt.IBuilderConfig", options):
    """Keep the kernel timings for the next build."""
    write(options.timing_cache, bytes(config.get_timing_cache().serialize()))


def cache_only_calibrator(trt: "TensorRT", cache):
    """A calibrator that has a table and no data, and knows what it was asked for."""

    of_this_version = trt.IInt8EntropyCalibrator2
    if TYPE_CHECKING:
        base: "typing.TypeAlias" = tensorrt.IInt8EntropyCalibrator2
    else:
        base = of_this_version

    class Calibrator(base):
        def __init__(self):
            base.__init__(self)
            self.was_read = False
            self.asked_for_data = False

        def get_batch_size(self):
            return 1

        def get_batch(self, names):
            self.asked_for_data = True
            return None

        def read_calibration_cache(self):
            self.was_read = True
            return cache

        def write_calibration_cache(self, written):
            return None

    return Calibrator()


def engine_layers(trt: "TensorRT", logger: "tensorrt.Logger", plan: "tensorrt.IHostMemory"):
    """Layer information as parsed JSON, or None before TensorRT 8.2."""
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None or not hasattr(engine, "create_engine_inspector"):
        return None
    inspector = engine.create_engine_inspector()
    try:
        return json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    except ValueError:
        return None  # names are not escaped


# --- building with trtexec ------------------------------------------------------------------------


def build_with_trtexec(trtexec, folder, options, run=subprocess.Popen):
    """Engine bytes and layer information, through trtexec."""
    version = trtexec_version(trtexec, run)
    check_options(options, version, version < (11,), version < (11,) or has_half(folder))
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as scratch:
        engine, layers = os.path.join(scratch, "model.engine"), os.path.join(scratch, "layers.json")
        command = [trtexec, "--onnx=" + os.path.join(folder, model_file(options, version))]
        command += ["--saveEngine=" + engine] + trtexec_flags(version, options, layers)
        if options.calibration == "cache":
            cache = os.path.join(scratch, "calibration.cache")
            with open(cache, "w") as stream:
                stream.write(localised_cache(folder, version))
            command.append("--calib=" + cache)
        output, code = output_of(command, run)
        sys.stdout.write(output)
        require_cache_was_read(output, options)
        if code != 0 or "&&&& FAILED" in output or not os.path.exists(engine):
            errors = [line for line in output.split("\n") if "[E]" in line]
            raise BuildError("trtexec failed: {}".format(errors[-1] if errors else "its output is above"))
        with open(engine, "rb") as stream:
            return stream.read(), read_layers(layers)


def read_layers(path):
    """Layer information as parsed JSON; None where there is none or trtexec left names unescaped."""
    try:
        with open(path) as stream:
            return json.load(stream)
    except (IOError, OSError, ValueError):
        return None


def trtexec_flags(version, options, layers):
    """Flags that mean the same on every version."""
    flags = []
    if version < (11,):
        flags += ["--fp16"] if options.precision == "fp16" else ["--int8", "--fp16"]
    if version >= (8, 4):
        flags.append("--memPoolSize=workspace:{}".format(options.workspace_mib))
    else:
        flags.append("--workspace={}".format(options.workspace_mib))
    flags.append("--skipInference" if version >= (8, 6) else "--buildOnly")
    flags.append("--timingCacheFile=" + options.timing_cache)
    if options.dla is not None:
        flags += ["--useDLACore={}".format(options.dla), "--allowGPUFallback"]
    if version >= (8, 2):
        flags += ["--profilingVerbosity=detailed", "--exportLayerInfo=" + layers]
    return flags


def trtexec_version(trtexec, run=subprocess.Popen):
    """Version from the banner: v8502 is 8.5.2, v100300 is 10.3.0."""
    output, _ = output_of([trtexec, "--help"], run)
    found = re.search(r"\[TensorRT v(\d+)\]", output)
    if not found:
        raise BuildError("{} --help shows no TensorRT version; is it trtexec?".format(trtexec))
    number = int(found.group(1))
    unit = 10000 if number >= 100000 else 1000
    return (number // unit, number % unit // 100, number % 100)


def output_of(command, run):
    """Combined output and exit status."""
    process = run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    output, _ = process.communicate()
    return output, process.returncode


def require_cache_was_read(output, options):
    """trtexec calibrates on noise when it does not accept a cache; that must not pass."""
    if options.calibration != "cache":
        return
    if "Starting Calibration" in output or "Reading Calibration Cache" not in output:
        raise BuildError("TensorRT did not read calibration.cache; the engine is not used.")


def as_list(value):
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def int8_layers(layers):
    """(layers with an INT8 output, layers) from layer information."""
    entries = [layer for layer in as_list(layers.get("Layers")) if isinstance(layer, dict)]
    kinds = [
        " ".join(
            str(out.get("Format/Datatype", "")) + str(out.get("Datatype", ""))
            for out in as_list(layer.get("Outputs"))
            if isinstance(out, dict)
        )
        for layer in entries
    ]
    return sum("int8" in kind.lower() for kind in kinds), len(entries)


# --- golden samples -------------------------------------------------------------------------------


def golden_batches(folder, manifest, precision):
    """[(inputs, expected outputs)] as flat arrays of float32, one pair for each batch."""
    count = manifest["details"].get("golden_batches", 0)
    inputs = [split(folder, "golden_input", i, count) for i in range(len(manifest["inputs"]))]
    prefix = "golden_{}_output".format(precision)
    outputs = [split(folder, prefix, i, count) for i in range(len(manifest["outputs"]))]
    return [([part[n] for part in inputs], [part[n] for part in outputs]) for n in range(count)]


def split(folder, prefix, index, count):
    """A file of float32 numbers, cut into equal batches."""
    values = array.array("f")
    with open(os.path.join(folder, "{}_{}.bin".format(prefix, index)), "rb") as stream:
        values.frombytes(stream.read())
    if sys.byteorder == "big":
        values.byteswap()
    size = len(values) // max(count, 1)
    return [values[n * size : (n + 1) * size] for n in range(count)]


def answers_of_trtexec(trtexec, engine, batches, manifest, version, run=subprocess.Popen):
    """What the engine answers to each batch, through trtexec."""
    names = [spec["name"] for spec in manifest["outputs"]]
    return [one_answer_of_trtexec(trtexec, engine, inputs, manifest, names, version, run) for inputs, _ in batches]


def one_answer_of_trtexec(trtexec, engine, inputs, manifest, names, version, run):
    """The outputs for one batch, in the manifest's order."""
    with tempfile.TemporaryDirectory(prefix=".golden-", dir=os.path.dirname(engine)) as scratch:
        files, out = [], os.path.join(scratch, "outputs.json")
        for index, (spec, values) in enumerate(zip(manifest["inputs"], inputs)):
            path = os.path.join(scratch, "{}.bin".format(index))
            with open(path, "wb") as stream:
                stream.write(values.tobytes())
            files.append("{}:{}".format(spec["name"], path))
        command = [trtexec, "--loadEngine=" + engine, "--loadInputs=" + ",".join(files)]
        command += ["--exportOutput=" + out, "--warmUp=0", "--duration=0", "--iterations=1"]
        command += ["--includeDataTransfers"] if version >= (11,) else []
        output, code = output_of(command, run)
        try:
            with open(out) as stream:
                found = {entry["name"]: entry["values"] for entry in json.load(stream)}
            return [found[name] for name in names]
        except (IOError, OSError, ValueError, KeyError, TypeError):
            errors = [line for line in output.split("\n") if "[E]" in line]
            raise BuildError(
                "trtexec did not answer the golden samples (exit code {}): {}".format(
                    code, errors[-1] if errors else "no outputs were written"
                )
            )


class CudaMemory(object):
    """Memory on the GPU through libcudart, which TensorRT itself needs: no package to install here."""

    HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2

    def __init__(self, library=None):
        self.library = library or ctypes.CDLL("libcudart.so")
        self.pointers = []

    def allocate(self, size):
        pointer = ctypes.c_void_p()
        self.check(self.library.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(size)), "cudaMalloc")
        self.pointers.append(pointer)
        return pointer

    def copy_in(self, pointer, values):
        source = (ctypes.c_char * (len(values) * values.itemsize)).from_buffer(values)
        self.check(
            self.library.cudaMemcpy(
                pointer, source, ctypes.c_size_t(len(values) * values.itemsize), self.HOST_TO_DEVICE
            ),
            "cudaMemcpy",
        )

    def copy_out(self, pointer, count):
        values = array.array("f", [0.0]) * count
        target = (ctypes.c_char * (4 * count)).from_buffer(values)
        self.check(
            self.library.cudaMemcpy(target, pointer, ctypes.c_size_t(4 * count), self.DEVICE_TO_HOST),
            "cudaMemcpy",
        )
        return values

    def check(self, status, what):
        if status != 0:
            raise BuildError("{} failed with CUDA error {}.".format(what, status))

    def free(self):
        for pointer in self.pointers:
            self.library.cudaFree(pointer)
        self.pointers = []


def answers_of_module(trt: "TensorRT", plan: bytes, batches, manifest, memory=None):
    """What the engine answers to each batch, through the module and libcudart."""
    try:
        memory = memory or CudaMemory()
    except OSError:
        return None
    engine = trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    names = tensor_names(engine)
    try:
        return [one_answer(context, names, pair, manifest, memory) for pair in batches]
    finally:
        memory.free()


def tensor_names(engine: "tensorrt.ICudaEngine"):
    """Names of inputs and outputs in the order of execute_v2's pointers."""
    if hasattr(engine, "num_io_tensors"):
        return [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    name_of, count = getattr(engine, "get_binding_name"), getattr(engine, "num_bindings")  # before 8.5
    return [name_of(index) for index in range(count)]


def one_answer(context: "tensorrt.IExecutionContext", names, pair, manifest, memory):
    """The outputs for one batch, in the manifest's order."""
    inputs, expected = pair
    pointers = {}
    for spec, values in zip(manifest["inputs"], inputs):
        pointers[spec["name"]] = memory.allocate(len(values) * values.itemsize)
        memory.copy_in(pointers[spec["name"]], values)
    for spec, values in zip(manifest["outputs"], expected):
        pointers[spec["name"]] = memory.allocate(4 * len(values))
    if not context.execute_v2([int(pointers[name].value or 0) for name in names]):
        raise BuildError("TensorRT could not run the golden samples; its messages are above.")
    outputs = zip(manifest["outputs"], expected)
    found = [memory.copy_out(pointers[spec["name"]], len(values)) for spec, values in outputs]
    memory.free()
    return found


def compare_answers(batches, answers, manifest):
    """Cosine similarity, largest difference and top-1 agreement of all golden samples."""
    wanted = [v for _, expected in batches for values in expected for v in values]
    found = [float(v) for outputs in answers for values in outputs for v in values]
    if len(wanted) != len(found):
        raise BuildError("the engine answers {} numbers, {} are expected.".format(len(found), len(wanted)))
    if not all(math.isfinite(value) for value in found):
        raise BuildError("the engine answers NaN or infinity to a golden sample; it is not used.")
    product = sum(a * b for a, b in zip(wanted, found))
    norms = math.sqrt(sum(a * a for a in wanted) * sum(b * b for b in found))
    largest = max([abs(a - b) for a, b in zip(wanted, found)] or [0.0])
    spread = (max(wanted) - min(wanted)) if wanted else 0.0
    return {
        "batches": len(batches),
        "cosine_similarity": product / norms if norms else float(wanted == found),
        "largest_difference_of_range": largest / spread if spread else largest,
        "top1_agreement": top1_agreement(batches, answers, manifest),
    }


def top1_agreement(batches, answers, manifest):
    """Share of rows of the first output whose largest value is at the same place."""
    classes = manifest["outputs"][0]["shape"][-1]
    same = rows = 0
    for (_, expected), outputs in zip(batches, answers):
        for begin in range(0, len(expected[0]) - classes + 1, classes):
            one, other = (list(v[begin : begin + classes]) for v in (expected[0], outputs[0]))
            same, rows = same + (one.index(max(one)) == other.index(max(other))), rows + 1
    return same / float(rows) if rows else None


def require_golden(result):
    """Refuse an engine that computes something else."""
    if result["cosine_similarity"] < LEAST_COSINE:
        raise BuildError(
            "the engine's answers to the golden samples have a cosine similarity of {:.4f} with the "
            "expected ones, less than {}; it is not used.".format(result["cosine_similarity"], LEAST_COSINE)
        )


# --- putting it together --------------------------------------------------------------------------


def find_builder(options):
    """The tensorrt module if it is there, else the path of trtexec."""
    if options.trtexec is None:
        try:
            import tensorrt

            if hasattr(tensorrt, "__version__"):  # type stubs alone can be imported too
                return tensorrt, None
        except ImportError:
            pass
    trtexec = found_trtexec(options)
    if trtexec is None:
        raise BuildError(
            "neither the Python module tensorrt nor trtexec is here; type: "
            "sudo apt install python3-libnvinfer libnvinfer-bin"
        )
    return None, trtexec


def found_trtexec(options):
    """Path of trtexec, or None."""
    trtexec = options.trtexec or shutil.which("trtexec") or TRTEXEC
    return trtexec if os.path.exists(trtexec) else None


def build(module, trtexec, folder, options, manifest):
    """Build one engine, prove it, write it; its entry for engines.json."""
    if module is not None:
        version = version_numbers(module.__version__)
        plan, layers = build_with_module(module, folder, options)
    else:
        version = trtexec_version(trtexec)
        plan, layers = build_with_trtexec(trtexec, folder, options)
    integer, total = int8_layers(layers) if layers else (None, None)
    if options.precision == "int8" and integer == 0:
        raise BuildError("none of the {} layers has an INT8 output; this is no INT8 engine.".format(total))
    write(options.out + ".unproved", plan)
    try:
        golden = prove(module, trtexec, folder, options, manifest, plan, version)
    except BuildError:
        os.remove(options.out + ".unproved")
        raise
    os.rename(options.out + ".unproved", options.out)
    share = "not known (no readable layer information)" if layers is None else "{} of {}".format(integer, total)
    print("wrote {}: {} bytes, layers with INT8 output: {}".format(options.out, len(plan), share))
    return {
        "file": os.path.basename(options.out),
        "sha256": hashlib.sha256(plan).hexdigest(),
        "bytes": len(plan),
        "precision": options.precision,
        "calibration": options.calibration if options.precision == "int8" else None,
        "dla_core": options.dla,
        "tensorrt": dotted(version),
        "int8_layers": integer,
        "layers": total,
        "golden": golden,
    }


def prove(module, trtexec, folder, options, manifest, plan, version):
    """Run the golden samples; None, and a line, where nothing here can run them."""
    batches = golden_batches(folder, manifest, options.precision)
    trtexec = trtexec or found_trtexec(options)
    answers = None
    if batches and trtexec is not None:
        answers = answers_of_trtexec(trtexec, options.out + ".unproved", batches, manifest, tuple(version))
    elif batches:
        answers = answers_of_module(module, plan, batches, manifest)
    if answers is None:
        print("golden samples: not run (no samples, or neither trtexec nor libcudart.so)")
        return None
    result = compare_answers(batches, answers, manifest)
    require_golden(result)
    print(
        "golden samples ({}): cosine similarity {:.5f}, top-1 the same for {}".format(
            options.precision, result["cosine_similarity"], percent(result["top1_agreement"])
        )
    )
    return result


def percent(share):
    """'98.0 %', or 'not known'."""
    return "not known" if share is None else "{:.1f} %".format(100 * share)


def write(path, content):
    """Write aside, then rename."""
    with open(path + ".partial", "wb") as stream:
        stream.write(content)
    os.rename(path + ".partial", path)


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--precision", choices=("int8", "fp16"), help="build this one alone; default the bundle's own, and FP16 beside it"
    )
    parser.add_argument("--calibration", choices=("qdq", "cache"), default="qdq", help="where INT8 scales come from")
    parser.add_argument("--workspace-mib", type=int, default=1024)
    parser.add_argument("--dla", type=int, metavar="CORE", help="use this accelerator core, with the GPU as fall-back")
    parser.add_argument("--trtexec", help="use this trtexec instead of the Python module")
    parser.add_argument("--any-device", action="store_true", help="build on another machine than the bundle's")
    parser.add_argument("--timing-cache", default=os.path.join(HERE, "timing.cache"))
    parser.add_argument("--out", default=os.path.join(HERE, "model.engine"))
    options = parser.parse_args(argv)
    options.fp16_beside = options.precision is None
    options.precision = options.precision or "int8"
    return options


def check(options, manifest, folder):
    """Everything that can be refused before TensorRT is asked."""
    details = manifest["details"]
    model = device_model()
    if options.fp16_beside:
        options.precision = details.get("precision", "int8")
    check_device(model, options.any_device, options.precision)
    check_board(model, details, options.any_device)
    if options.precision == "int8" and details.get("precision") == "fp16":
        raise BuildError(
            "this bundle holds no INT8 model, because {} has no INT8; leave out --precision int8.".format(
                details.get("device")
            )
        )
    if options.precision == "int8":
        check_pair(folder)
    if options.dla is not None:
        if not details.get("dla_cores", 0):
            raise BuildError("{} has no deep learning accelerator; leave out --dla.".format(details.get("device")))
        check_static(manifest)


def main(argv=None):
    """Check, build, prove, write."""
    options = arguments(argv)
    manifest = read_manifest(HERE)
    check(options, manifest, HERE)
    module, trtexec = find_builder(options)
    version = version_numbers(module.__version__) if module is not None else trtexec_version(trtexec)
    check_version(version, manifest["details"])
    check_memory(HERE, options, version)
    board = device_model() or "no Jetson"
    print(shown("board '{}', L4T {}, TensorRT {}".format(board, l4t_release() or "not known", dotted(version))))
    entries = [build(module, trtexec, HERE, options, manifest)]
    if options.fp16_beside and options.precision == "int8":
        if tuple(version) >= (11,) and not has_half(HERE):
            print("FP16 engine: not built, TensorRT 11 needs {} for it".format(HALF_FILE))
        else:
            options.precision, options.calibration = "fp16", "qdq"
            options.out = os.path.join(os.path.dirname(options.out), FP16_ENGINE)
            entries.append(build(module, trtexec, HERE, options, manifest))
    write_record(entries)
    print(shown("model {} for {}".format(manifest["name"], manifest["details"]["device"])))


def write_record(entries):
    """Add to engines.json what was built, for benchmark.py and for readers."""
    path = os.path.join(HERE, ENGINES)
    earlier = []
    if os.path.exists(path):
        with open(path) as stream:
            earlier = json.load(stream)["engines"]
    names = [entry["file"] for entry in entries]
    kept = [entry for entry in earlier if entry["file"] not in names]
    built_on = {"device": device_model(), "l4t": l4t_release()}
    record = {"built_on": built_on, "engines": kept + entries}
    write(path, (json.dumps(record, indent=2) + "\n").encode("ascii"))


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit(shown("error: {}".format(error)))
