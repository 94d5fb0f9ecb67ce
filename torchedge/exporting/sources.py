"""What to do with a file where a folder that a recipe or an export wrote is wanted."""

from collections.abc import Mapping
from pathlib import Path

__all__ = ["explain_file"]

_SAVE = (
    "build the network in Python, load the weights into it, and write the folder with "
    "CompressedModel(module=net, example_inputs=x[:1], samples=x).save('FOLDER')"
)
_WEIGHTS = f"holds weights, or a pickled module, and no program; {_SAVE}"
_ARTEFACT = "give the folder that it lies in, if torchedge wrote it"

_KINDS: Mapping[str, str] = {
    ".onnx": (
        "is an ONNX file; make a folder of it, with data to check it on: torchedge import-onnx "
        "{path} DATA OUT, then torchedge export OUT --target …"
    ),
    **dict.fromkeys((".pth", ".pt", ".bin", ".pkl", ".pickle", ".th", ".tar"), _WEIGHTS),
    ".safetensors": f"holds weights and no program; {_SAVE}",
    ".ckpt": (
        "is a training checkpoint; load it with the class that was trained "
        f"(Task.load_from_checkpoint('{{path}}').model, for example), and then {_SAVE}"
    ),
    ".pt2": (
        "is a torch.export program, without the data that every form is checked on; give the "
        f"folder that CompressedModel.save wrote, or {_SAVE}"
    ),
    ".pte": f"is an ExecuTorch program, the end of another way; {_SAVE}",
    ".ptl": f"is a TorchScript program for mobiles, the end of another way; {_SAVE}",
    ".tflite": (
        "is a TFLite file, which is the end of a way and not its begin; "
        f"{_ARTEFACT}, for torchedge benchmark; to export, start at the network: {_SAVE}"
    ),
    **dict.fromkeys(
        (".engine", ".plan", ".trt"),
        "is a TensorRT engine, which runs on the kind of GPU it was built on alone; start at the "
        f"network: {_SAVE}",
    ),
    **dict.fromkeys(
        (".pb", ".h5", ".hdf5", ".keras"),
        "is a TensorFlow or Keras model; convert it with tf2onnx, then torchedge import-onnx "
        "MODEL.onnx DATA OUT",
    ),
    **dict.fromkeys(
        (".mlmodel", ".mlpackage", ".xml", ".caffemodel", ".prototxt", ".param", ".rknn", ".hef"),
        f"is a model in another runtime's own form, which nothing here reads; {_SAVE}",
    ),
    **dict.fromkeys((".py", ".ipynb"), f"is source text; run it, and at its end {_SAVE}"),
    ".json": f"is a file of an artefact; {_ARTEFACT}",
    **dict.fromkeys((".zip", ".gz", ".tgz"), "is an archive; unpack it, and give the folder in it"),
}


def explain_file(path: Path | str) -> str:
    """One sentence that says what a file is and how to come from it to a folder that is exported.

    Args:
        path: By whose ending it is told; it need not exist.

    Example:
        >>> explain_file("net.onnx").split(";")[0]
        "'net.onnx' is an ONNX file"
        >>> "import-onnx net.onnx" in explain_file("net.onnx")
        True
    """
    path = Path(path)
    found = _KINDS.get(path.suffix.lower())
    if found is None:
        return f"'{path}' is a file; give a folder that a recipe or an export wrote, or {_SAVE}."
    return f"'{path}' {found.replace('{path}', str(path))}."
