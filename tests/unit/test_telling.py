"""Warnings and log records in which text from files stays text."""

import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

import torchedge
from torchedge.telling import harmless_messages, warn

_EVIL = "\x1b[2Ja\r\u202eb"
_PLAIN = r"\x1b[2Ja\r\u202eb"


def test_a_warning_has_no_sequence_that_a_terminal_obeys_and_names_the_line_that_asked():
    def transform():
        warn(f"'{_EVIL}' is odd")

    with pytest.warns(UserWarning, match=re.escape(f"'{_PLAIN}' is odd")) as caught:
        transform()
    assert caught[0].filename == __file__


def test_what_other_packages_warn_of_and_log_is_escaped_and_then_as_before(capsys):
    shown, made = warnings.formatwarning, logging.getLogRecordFactory()
    with harmless_messages():
        said = warnings.formatwarning(f"x {_EVIL}", DeprecationWarning, "a.py", 3)
        handler = logging.StreamHandler(sys.stderr)
        logger = logging.getLogger("somebody")
        logger.addHandler(handler)
        logger.warning("read %s\nand %d more", _EVIL, 3)
        logger.removeHandler(handler)
    assert said == f"warning: x {_PLAIN} (DeprecationWarning)\n"
    assert capsys.readouterr().err == f"read {_PLAIN}\nand 3 more\n"
    assert (warnings.formatwarning, logging.getLogRecordFactory()) == (shown, made)


def test_the_name_of_a_picture_that_is_warned_of_cannot_move_the_cursor(tmp_path):
    onnx = pytest.importorskip("onnx")
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 4, 4])
        for name in "xy"
    ]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], "g", *map(list, zip(values))
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        Image.new("RGBA", (4, 4), (number, 9, 9, 9)).save(
            tmp_path / "pictures" / f"{number}\x1b[2J.png"
        )
    words = [sys.executable, "-m", "torchedge", "import-onnx", "m.onnx", "pictures", "out"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    said = ended.stderr
    assert "warning: 'pictures/0\\x1b[2J.png' is transparent" in said
    assert "\x1b" not in said


def test_nothing_warns_past_this_file():
    root = Path(torchedge.__file__).parent
    files = [*root.rglob("*.py"), *(root.parent / "exporters").rglob("*.py")]
    calling = [p.name for p in files if "warnings.warn(" in p.read_text(encoding="utf-8")]
    assert calling == ["telling.py"]
