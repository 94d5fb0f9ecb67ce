"""What people type for a target that is called otherwise, comes later, or is not supported."""

import difflib
from collections.abc import Iterable, Mapping

__all__ = ["HINTS", "hint_for", "plain"]

_ALIKE = 0.8  # of two spellings; 'jetsn' and 'jetson' have 0.91, 'ios' and 'onnx-cpu' 0.36

_TENSORRT = (
    "TensorRT engines are built on the device: for a Jetson take 'jetson-orin-nano' or another of "
    "the 'jetson-…' targets, for a PC 'desktop-gpu'"
)
_TFLITE = (
    ".tflite files come from 'android', 'raspberry-pi-4' and 'raspberry-pi-5', and for "
    "microcontrollers from 'arduino-nano-33-ble', 'esp32-s3', 'rp2040' and 'stm32f4'"
)
_MICRO = (
    "microcontrollers are 'arduino-nano-33-ble', 'esp32', 'esp32-s3', 'rp2040', 'stm32f4' and "
    "'stm32h7'"
)
_CORE_ML = (
    "Core ML for iPhones and Macs is planned and not built yet; train with its numbers, "
    "torchedge.backends.CORE_ML, or take the .onnx file of 'onnx-cpu'"
)
_OPENVINO = (
    "OpenVINO has no exporter of its own yet and reads the .onnx file of 'onnx-cpu', whose "
    "integers are the same"
)
_ONNX = "ONNX Runtime on a CPU is 'onnx-cpu'"
_OWN_COMPILER = (
    "its compiler quantises by itself; give it the float ONNX file that an export to 'onnx-cpu' "
    "writes beside the integers"
)

_TABLE: Mapping[tuple[str, ...], str] = {
    ("tensorrt", "trt", "engine", "nvidia", "deepstream"): _TENSORRT,
    ("gpu", "cuda", "rtx", "pcgpu", "desktop"): "a PC with an NVIDIA GPU is 'desktop-gpu'",
    ("orin",): "there are 'jetson-orin-nano', 'jetson-orin-nx' and 'jetson-agx-orin'",
    ("orinnano",): "it is 'jetson-orin-nano'",
    ("orinnx",): "it is 'jetson-orin-nx'",
    ("agxorin",): "it is 'jetson-agx-orin'",
    ("xavier",): "there are 'jetson-xavier-nx' and 'jetson-agx-xavier'",
    ("thor",): "it is 'jetson-thor'",
    ("tx2", "tx1"): "the Jetson TX2 is 'jetson-tx2', and there is none for a TX1",
    ("nano",): (
        "a Jetson Nano is 'jetson-nano', an Orin Nano 'jetson-orin-nano', and an Arduino Nano "
        "'arduino-nano-33-ble'"
    ),
    ("tflite", "litert", "tensorflow", "tensorflowlite", "tf"): _TFLITE,
    ("phone", "mobile", "androidphone", "pixel", "nnapi"): "Android phones are 'android'",
    ("raspberrypi", "raspberry", "rpi", "pi", "raspi"): (
        "there are 'raspberry-pi-4' and 'raspberry-pi-5'"
    ),
    ("raspberrypi3", "rpi3", "pi3", "raspberrypizero", "raspberrypizero2w"): (
        "there are 'raspberry-pi-4' and 'raspberry-pi-5'; older ones are not checked"
    ),
    ("rpi4", "pi4", "raspi4"): "it is 'raspberry-pi-4'",
    ("rpi5", "pi5", "raspi5"): "it is 'raspberry-pi-5'",
    ("coral", "edgetpu", "coraltpu", "tpu", "googlecoral"): "Coral's Edge TPU is 'coral-edge-tpu'",
    ("arduino", "nano33", "nano33ble", "nrf52840", "nrf52"): (
        "the Arduino Nano 33 BLE, an nRF52840, is 'arduino-nano-33-ble'"
    ),
    ("esp", "espressif", "esp32c3", "esp32s2", "esp8266"): (
        "Espressif's chips here are 'esp32' and 'esp32-s3'"
    ),
    ("esp32s3",): "it is 'esp32-s3'",
    ("pico", "raspberrypipico", "rppico", "pico2", "rp2350"): (
        "the Raspberry Pi Pico, an RP2040, is 'rp2040'; there is none for a Pico 2"
    ),
    ("stm32", "stm", "nucleo", "cubemx", "stm32cube"): "there are 'stm32f4' and 'stm32h7'",
    ("mcu", "micro", "microcontroller", "cortexm", "cortexm4", "tinyml", "tflm", "tflitemicro"): (
        _MICRO
    ),
    ("onnx", "ort", "onnxruntime", "cpu", "x86", "intel", "amd", "pc", "server", "linux"): _ONNX,
    ("arm", "aarch64", "arm64"): (
        "single-board computers with ARM cores are 'raspberry-pi-4' and 'raspberry-pi-5', ARM "
        "servers run 'onnx-cpu'"
    ),
    ("web", "browser", "wasm", "js", "javascript", "webgpu", "tfjs", "onnxweb"): (
        "there is no target of its own; ONNX Runtime Web runs the .onnx file of 'onnx-cpu'"
    ),
    ("iphone", "ios", "ipad", "coreml", "apple", "mac", "macos", "ane", "mps"): _CORE_ML,
    ("openvino", "myriad", "movidius", "ncs2", "intelnpu"): _OPENVINO,
    ("executorch", "pte", "torchmobile", "pytorchmobile", "torchscript"): (
        "ExecuTorch is not supported: it lowers a torch.export program by its own quantiser; for "
        "phones take 'android'"
    ),
    ("ncnn", "mnn", "tnn", "paddlelite"): (
        "it is not supported: it has its own files and its own quantiser; phones are 'android'"
    ),
    ("hailo", "hailo8", "hailo10", "hailo8l"): f"Hailo is not supported: {_OWN_COMPILER}",
    ("rockchip", "rknn", "rk3588", "rk3566", "rk3568", "orangepi"): (
        f"Rockchip's NPU is not supported: {_OWN_COMPILER}"
    ),
    ("qualcomm", "snpe", "qnn", "snapdragon", "hexagon", "htp", "dsp", "qairt"): (
        "Qualcomm's NPU is not supported: its SDK takes a model in its own way; on the phone's CPU "
        "'android' runs"
    ),
    ("mediatek", "neuropilot", "exynos", "samsung"): (
        "the phone's NPU is not supported: its SDK takes a model in its own way; on the phone's "
        "CPU 'android' runs"
    ),
    ("k210", "kendryte", "kpu", "sipeed", "maix", "k230"): (
        f"Kendryte's KPU is not supported: {_OWN_COMPILER}"
    ),
    ("ethosu", "ethosu55", "ethosu65", "ethosu85", "ethos", "vela"): (
        "Arm's Ethos-U is not supported: its compiler Vela reads the int8 .tflite file that "
        "'stm32h7' makes on the way, which is not checked here"
    ),
    ("max78000", "max78002", "gap8", "gap9", "syntiant", "akida"): (
        f"the chip is not supported: {_OWN_COMPILER}"
    ),
    ("vitis", "vitisai", "xilinx", "fpga", "kria", "zynq", "hls4ml"): (
        f"FPGAs are not supported: {_OWN_COMPILER}"
    ),
    ("axelera", "kneron", "ambarella", "deepx", "sophgo", "bm1684", "horizon", "ti", "tda4"): (
        f"the chip is not supported: {_OWN_COMPILER}"
    ),
    ("tvm", "glow", "iree", "xla"): (
        "compilers are no targets here; this one reads the .onnx file of 'onnx-cpu'"
    ),
    ("rocm", "amdgpu", "migraphx", "vulkan", "opencl", "directml"): (
        "GPUs other than NVIDIA's have no target of their own; ONNX Runtime may run the .onnx file "
        "of 'onnx-cpu' there"
    ),
}

HINTS: Mapping[str, str] = {name: hint for names, hint in _TABLE.items() for name in names}
"""By the plain form of what is typed; names of targets stand in quotes."""


def plain(name: str) -> str:
    """A name without case, spaces and signs.

    Example:
        >>> plain("Raspberry Pi_4")
        'raspberrypi4'
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


def hint_for(name: str, known: Iterable[str]) -> str:
    """What to take instead of a name that no target has.

    Args:
        name: As typed.
        known: Names of the targets that there are.

    Returns:
        Part of a sentence.

    Example:
        >>> hint_for("Jetson Nano", ["jetson-nano"])
        "the nearest is 'jetson-nano'"
        >>> hint_for("iPhone", []).split(";")[0]
        'Core ML for iPhones and Macs is planned and not built yet'
        >>> hint_for("toaster", ["jetson", "android"])
        'there are android, jetson'
    """
    names = {plain(target): target for target in known}
    typed = plain(name)
    if typed in names:
        return f"the nearest is '{names[typed]}'"
    if typed in HINTS:
        return HINTS[typed]
    nearest = difflib.get_close_matches(typed, names, n=1, cutoff=_ALIKE)
    if nearest:
        return f"the nearest is '{names[nearest[0]]}'"
    misspelt = difflib.get_close_matches(typed, HINTS, n=1, cutoff=_ALIKE)
    if misspelt and len(typed) > 4:
        return HINTS[misspelt[0]]
    return f"there are {', '.join(sorted(names.values()))}"
