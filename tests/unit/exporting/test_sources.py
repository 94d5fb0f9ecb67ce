import pytest

from torchedge.cli import main
from torchedge.exporting.sources import explain_file


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.onnx", "torchedge import-onnx {path} DATA OUT"),
        ("model.pth", "holds weights, or a pickled module"),
        ("model.PT", "holds weights, or a pickled module"),
        ("model.ckpt", "load_from_checkpoint('{path}')"),
        ("model.safetensors", "holds weights and no program"),
        ("model.pt2", "is a torch.export program"),
        ("model.tflite", "torchedge benchmark"),
        ("model.engine", "runs on the kind of GPU it was built on alone"),
        ("model.h5", "tf2onnx"),
        ("train.py", "run it"),
        ("manifest.json", "give the folder that it lies in"),
        ("model.zip", "unpack it"),
        ("model", "give a folder that a recipe or an export wrote"),
    ],
)
def test_export_says_what_a_file_is_and_what_to_do(tmp_path, capsys, name, told):
    path = tmp_path / name
    path.write_bytes(b"anything")
    assert main(["export", str(path), "--target", "onnx-cpu"]) == 2
    printed = capsys.readouterr().err
    assert told.replace("{path}", str(path)) in printed
    assert printed.count("\n") == 1
    assert explain_file(path) in printed


def test_every_way_from_a_network_ends_in_a_folder():
    for ending in ("pth", "pt", "ckpt", "pt2", "tflite", "engine"):
        assert "CompressedModel(" in explain_file(f"model.{ending}")
