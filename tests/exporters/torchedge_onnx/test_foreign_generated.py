"""Whatever an ONNX file holds: imported it answers as it did, or one error of ours says why not."""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings

from benchmarks import onnx_operators
from tests.exporters.torchedge_onnx import onnx_files as files
from tests.exporters.torchedge_onnx.generated_files import SHAPE, generated
from torchedge.errors import TorchedgeError
from torchedge_onnx.import_model import import_onnx
from torchedge_onnx.step import MODEL_FILE

_FAR = 1e-4  # of the largest value: some rounding of five nodes, and no other function


def outcome(made) -> str:
    """``equal``, or the error of ours that refused it; anything else is raised."""
    data = files.batches(SHAPE, count=2)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "file.onnx"), Path(folder, "out")
        files.saved(path, made)
        try:
            import_onnx(path, data, out)
        except TorchedgeError as error:
            return str(error)
        for batch in data:
            (wanted,), (found,) = files.plain(path, *batch), files.plain(out / MODEL_FILE, *batch)
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, atol=_FAR * np.abs(wanted).max(), rtol=0)
    return "equal"


@given(made=generated())
@settings(max_examples=60)
def test_a_generated_file_answers_as_it_did_or_is_refused(made):
    outcome(made)


def test_onnx_s_own_models_of_operators_are_equal_or_refused():
    """A share of ``benchmarks.onnx_operators``, which takes them all."""
    every = list(onnx_operators.subjects())
    found = [onnx_operators.outcome(subject) for subject in every[::30]]
    verdicts = Counter(each.verdict for each in found)
    assert verdicts.keys() <= {"equal", "refused"}, [e for e in found if e.verdict != "equal"]
    assert verdicts["equal"] > len(found) / 2
