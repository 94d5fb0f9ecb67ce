#!/usr/bin/env python3
"""Builds model.engine on this Jetson from the bundle beside this file, and counts its INT8 layers.

Needs nothing but the board's own Python (3.6 or newer) and TensorRT: its Python module, or trtexec.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"


class BuildError(Exception):
    """One line that says what is wrong and what to do."""


def read_manifest(folder):
    """The manifest, after every file was compared with its hash."""
    path = os.path.join(folder, "manifest.json")
    if not os.path.exists(path):
        raise BuildError("manifest.json is missing beside this script; copy the whole folder again.")
    with open(path) as stream:
        manifest = json.load(stream)
    for name, record in sorted(manifest["files"].items()):
        check_file(os.path.join(folder, name), name, record)
    return manifest


def check_file(path, name, record):
    """Refuse a file that is missing or was changed on the way."""
    if not os.path.exists(path):
        raise BuildError("{} is missing; copy the whole folder again.".format(name))
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    if digest.hexdigest() != record["sha256"]:
        raise BuildError("{} does not match its SHA-256; copy it again.".format(name))


def device_model():
    """What the board calls itself, or an empty string."""
    try:
        with open("/proc/device-tree/model") as stream:
            return stream.read().strip("\0\n ")
    except (IOError, OSError):
        return ""


def check_device(model, any_device, precision="int8"):
    """INT8 needs a GPU that has it; an unknown board is refused unless asked for."""
    old = re.search(r"Jetson (Nano|TX1|TX2)", model)
    if old and precision == "int8":
        raise BuildError(
            "{} has no INT8 arithmetic (its GPU is sm_53 or sm_62); use an Orin or Xavier, "
            "or --precision fp16.".format(model)
        )
    if not old and not re.search(r"Orin|Xavier|Thor", model) and not any_device:
        raise BuildError(
            "this machine says it is '{}', not a Jetson with INT8; --any-device builds for it "
            "all the same, and that engine runs only here.".format(model or "no Jetson")
        )


def version_numbers(text):
    """(10, 3, 0) from '10.3.0.26'."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


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


def build_with_module(trt, folder, options):
    """Engine bytes and layer information, through the tensorrt module."""
    version = version_numbers(trt.__version__)
    check_options(options, version, hasattr(trt, "IInt8EntropyCalibrator2"), hasattr(trt.BuilderFlag, "FP16"))
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    flags = 0
    if hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH"):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    parse(parser, os.path.join(folder, model_file(options)))
    config = builder.create_builder_config()
    configure(trt, config, options)
    calibrator = None
    if options.calibration == "cache":
        calibrator = cache_only_calibrator(trt, localised_cache(folder, version).encode())
        config.int8_calibrator = calibrator
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError("TensorRT could not build the engine; its messages are above.")
    return bytes(plan), engine_layers(trt, logger, plan)


def check_options(options, version, has_calibrators, has_fp16):
    """Refuse what this TensorRT cannot be asked for, instead of building something else."""
    name = ".".join(str(part) for part in version)
    if options.calibration == "cache" and options.precision == "fp16":
        raise BuildError("FP16 needs no INT8 scales; leave out --calibration cache.")
    if options.calibration == "cache" and not has_calibrators:
        raise BuildError("TensorRT {} has no calibrators; leave out --calibration cache.".format(name))
    if options.precision == "fp16" and not has_fp16:
        raise BuildError(
            "TensorRT {} takes its precision from the ONNX file and cannot be asked for FP16; "
            "leave out --precision fp16.".format(name)
        )


def model_file(options):
    """The ONNX file that fits the kind of calibration."""
    return "model_fp32.onnx" if options.calibration == "cache" or options.precision == "fp16" else "model_qdq.onnx"


def parse(parser, path):
    """Read the ONNX file, or fail with the parser's own words."""
    with open(path, "rb") as stream:
        if parser.parse(stream.read()):
            return
    messages = [str(parser.get_error(index)) for index in range(parser.num_errors)]
    raise BuildError("TensorRT cannot read {}: {}".format(os.path.basename(path), "; ".join(messages)))


def configure(trt, config, options):
    """Workspace, precisions and detailed layer information, where this version has them."""
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    else:
        config.max_workspace_size = options.workspace_mib << 20
    for name in ("FP16",) if options.precision == "fp16" else ("INT8", "FP16"):
        if hasattr(trt.BuilderFlag, name):
            config.set_flag(getattr(trt.BuilderFlag, name))
    if hasattr(trt.ProfilingVerbosity, "DETAILED"):  # from TensorRT 8.2
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED


def cache_only_calibrator(trt, cache):
    """A calibrator that has a table and no data."""

    class Calibrator(trt.IInt8EntropyCalibrator2):
        def __init__(self):
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self):
            return 1

        def get_batch(self, names):
            return None

        def read_calibration_cache(self):
            return cache

        def write_calibration_cache(self, written):
            return None

    return Calibrator()


def engine_layers(trt, logger, plan):
    """Layer information as parsed JSON, or None before TensorRT 8.2."""
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None or not hasattr(engine, "create_engine_inspector"):
        return None
    inspector = engine.create_engine_inspector()
    return json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def build_with_trtexec(trtexec, folder, options, run=subprocess.Popen):
    """Engine bytes and layer information, through trtexec."""
    version = trtexec_version(trtexec, run)
    check_options(options, version, version < (11,), version < (11,))
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as scratch:
        engine, layers = os.path.join(scratch, "model.engine"), os.path.join(scratch, "layers.json")
        command = [trtexec, "--onnx=" + os.path.join(folder, model_file(options))]
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


def int8_layers(layers):
    """(layers with an INT8 output, layers) from layer information."""
    entries = [layer for layer in layers.get("Layers", []) if isinstance(layer, dict)]
    kinds = [
        " ".join(str(out.get("Format/Datatype", "")) + str(out.get("Datatype", "")) for out in layer.get("Outputs", []))
        for layer in entries
    ]
    return sum("int8" in kind.lower() for kind in kinds), len(entries)


def find_builder(options):
    """The tensorrt module if it is there, else the path of trtexec."""
    if options.trtexec is None:
        try:
            import tensorrt

            return tensorrt, None
        except ImportError:
            pass
    trtexec = options.trtexec or shutil.which("trtexec") or TRTEXEC
    if not os.path.exists(trtexec):
        raise BuildError(
            "neither the Python module tensorrt nor trtexec is here; type: "
            "sudo apt install python3-libnvinfer libnvinfer-bin"
        )
    return None, trtexec


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--precision", choices=("int8", "fp16"), default="int8")
    parser.add_argument("--calibration", choices=("qdq", "cache"), default="qdq", help="where INT8 scales come from")
    parser.add_argument("--workspace-mib", type=int, default=1024)
    parser.add_argument("--trtexec", help="use this trtexec instead of the Python module")
    parser.add_argument("--any-device", action="store_true", help="build on a machine that is no Jetson")
    parser.add_argument("--out", default=os.path.join(HERE, "model.engine"))
    return parser.parse_args(argv)


def main(argv=None):
    """Build, prove, write."""
    options = arguments(argv)
    manifest = read_manifest(HERE)
    check_device(device_model(), options.any_device, options.precision)
    module, trtexec = find_builder(options)
    if module is not None:
        plan, layers = build_with_module(module, HERE, options)
    else:
        plan, layers = build_with_trtexec(trtexec, HERE, options)
    integer, total = int8_layers(layers) if layers else (None, None)
    if options.precision == "int8" and integer == 0:
        raise BuildError("none of the {} layers has an INT8 output; this is no INT8 engine.".format(total))
    with open(options.out + ".partial", "wb") as stream:
        stream.write(plan)
    os.rename(options.out + ".partial", options.out)
    share = "not known (no readable layer information)" if layers is None else "{} of {}".format(integer, total)
    print("wrote {}: {} bytes, layers with INT8 output: {}".format(options.out, len(plan), share))
    print("model {} for {}".format(manifest["name"], manifest["details"]["device"]))


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit("error: {}".format(error))
