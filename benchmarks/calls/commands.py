"""Command lines as people type them, right and wrong."""

from collections.abc import Callable, Mapping

from benchmarks.calls.scene import Scene

__all__ = ["COMMANDS"]

Words = Callable[[Scene], list[object]]


def _broken_manifest(scene: Scene) -> object:
    folder = scene.new
    folder.mkdir()
    (folder / "manifest.json").write_text("{", encoding="utf-8")
    return folder


def _edited(scene: Scene) -> object:
    """An artefact of which a file has lost its end."""
    import shutil

    folder = scene.new
    shutil.copytree(scene.saved_float.path, folder)
    program = folder / "program.pt2"
    program.write_bytes(program.read_bytes()[:-9])
    return folder


def _empty(scene: Scene) -> object:
    folder = scene.new
    folder.mkdir()
    return folder


def _export(*words: object) -> Words:
    return lambda s: ["export", s.saved_float.path, "--out", s.new, *words]


_EXPORT: Mapping[str, Words] = {
    "export": lambda s: ["export"],
    "export SOURCE": lambda s: ["export", s.saved.path],
    "export nowhere": lambda s: ["export", "nowhere", "--target", "onnx-cpu"],
    "export an empty folder": lambda s: ["export", _empty(s), "--target", "onnx-cpu"],
    "export a folder of pictures": lambda s: ["export", s.pictures, "--target", "onnx-cpu"],
    "export a broken manifest": lambda s: ["export", _broken_manifest(s), "--target", "onnx-cpu"],
    "export a cut program": lambda s: ["export", _edited(s), "--target", "onnx-cpu"],
    "export net.onnx": lambda s: ["export", s.onnx, "--target", "onnx-cpu"],
    "export net.pth": lambda s: ["export", s.file("net.pth"), "--target", "onnx-cpu"],
    "export net.ckpt": lambda s: ["export", s.file("net.ckpt"), "--target", "onnx-cpu"],
    "export net.tflite": lambda s: ["export", s.file("net.tflite"), "--target", "onnx-cpu"],
    "export --target iphone": _export("--target", "iphone"),
    "export --target 'Raspberry Pi'": _export("--target", "Raspberry Pi"),
    "export --target ''": _export("--target", ""),
    "export --target (nothing)": _export("--target"),
    "export float to a Jetson": _export("--target", "jetson"),
    "export --precision int3": _export("--target", "raspberry-pi-4", "--precision", "int3"),
    "export --jetpack 9.9": _export("--target", "jetson", "--jetpack", "9.9"),
    "export --jetpack for a phone": _export("--target", "android", "--jetpack", "5.1"),
    "export --min-agreement 2": _export("--target", "onnx-cpu", "--min-agreement", "2"),
    "export --min-agreement much": _export("--target", "onnx-cpu", "--min-agreement", "much"),
    "export --quantize": _export("--target", "onnx-cpu", "--quantize"),
    "export SOURCE --recipe": _export("--target", "onnx-cpu", "--recipe", "digits"),
    "export --recipe imagenet": lambda s: [
        "export",
        "--target",
        "onnx-cpu",
        "--recipe",
        "imagenet",
    ],
    "export where a folder is": lambda s: [
        "export",
        s.saved.path,
        "--target",
        "onnx-cpu",
        "--out",
        s.pictures,
    ],
    "export two sources": lambda s: ["export", s.saved.path, s.saved.path, "--target", "onnx-cpu"],
}

_OTHERS: Mapping[str, Words] = {
    "quantize net.onnx": lambda s: ["quantize", s.onnx],
    "exprot": lambda s: ["exprot"],
    "--version": lambda s: ["--version"],
    "export --help": lambda s: ["export", "--help"],
    "targets": lambda s: ["targets"],
    "targets --json": lambda s: ["targets", "--json"],
    "targets android": lambda s: ["targets", "android"],
    "benchmark": lambda s: ["benchmark"],
    "benchmark nowhere": lambda s: ["benchmark", "nowhere"],
    "benchmark net.onnx": lambda s: ["benchmark", s.onnx],
    "benchmark --runs 0": lambda s: ["benchmark", s.saved_float.path, "--runs", "0"],
    "benchmark --runs many": lambda s: ["benchmark", s.saved_float.path, "--runs", "many"],
    "benchmark --runs 2": lambda s: [
        "benchmark",
        s.saved_float.path,
        "--runs",
        "2",
        "--warmup",
        "0",
    ],
    "benchmark --warmup -1": lambda s: ["benchmark", s.saved_float.path, "--warmup", "-1"],
    "benchmark --census of PyTorch": lambda s: ["benchmark", s.saved_float.path, "--census"],
    "import-onnx": lambda s: ["import-onnx"],
    "import-onnx nowhere": lambda s: ["import-onnx", "nowhere.onnx", s.pictures, s.new],
    "import-onnx on no data": lambda s: ["import-onnx", s.onnx, "nowhere", s.new],
    "import-onnx a broken file": lambda s: ["import-onnx", s.file("b.onnx"), s.pictures, s.new],
    "import-onnx a folder": lambda s: ["import-onnx", s.pictures, s.pictures, s.new],
    "import-onnx on pictures": lambda s: ["import-onnx", s.onnx, s.pictures, s.new],
    "import-onnx on NaN": lambda s: ["import-onnx", s.onnx, s.arrays, s.new],
    "import-onnx --std 0 1 1": lambda s: [
        *("import-onnx", s.onnx, s.pictures, s.new),
        *("--std", "0", "1", "1"),
    ],
    "import-onnx --batch-size 99": lambda s: [
        *("import-onnx", s.onnx, s.pictures, s.new),
        *("--batch-size", "99"),
    ],
    "calibration show nowhere": lambda s: ["calibration", "show", "nowhere"],
    "calibration show net.onnx": lambda s: ["calibration", "show", s.onnx],
    "calibration create --method best": lambda s: [
        *("calibration", "create", s.onnx, s.pictures, s.new),
        *("--method", "best"),
    ],
    "calibration create --target onnx-cpu": lambda s: [
        *("calibration", "create", s.onnx, s.pictures, s.new),
        *("--target", "onnx-cpu"),
    ],
    "calibration convert --tensorrt new": lambda s: [
        *("calibration", "convert", s.onnx, s.new),
        *("--tensorrt", "new"),
    ],
    "check-tensorrt nowhere": lambda s: ["check-tensorrt", "nowhere.onnx"],
    "check-tensorrt --target android": lambda s: [
        "check-tensorrt",
        s.onnx,
        "--target",
        "android",
    ],
    "compare": lambda s: ["compare"],
    "compare nowhere": lambda s: ["compare", "nowhere.json"],
}

COMMANDS: Mapping[str, Words] = {**_EXPORT, **_OTHERS}
