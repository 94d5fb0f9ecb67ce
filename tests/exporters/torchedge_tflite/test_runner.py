"""A file that is damaged or belongs to something else."""

from dataclasses import replace

import numpy as np
import pytest

from tests.docs.pages import ROOT, blocks, run_block
from torchedge.errors import ArtifactError
from torchedge.exporting import TensorSpec
from torchedge_tflite.runner import TFLiteRunner
from torchedge_tflite.session import open_model
from torchedge_tflite.step import MODEL_FILE

pytestmark = pytest.mark.slow


def test_a_file_that_was_cut_short_is_refused_with_its_size(exported, tmp_path):
    artifact = exported("Residual").tflite
    damaged = tmp_path / MODEL_FILE
    damaged.write_bytes(artifact.file(MODEL_FILE).read_bytes()[:900])
    with pytest.raises(ArtifactError, match="900 bytes"):
        open_model(damaged, artifact.inputs, artifact.outputs)


def test_a_file_with_other_outputs_than_the_manifest_is_refused(exported):
    artifact = exported("Residual").tflite
    other = replace(artifact, outputs=(TensorSpec("scores", (1, 4), "float32"),))
    with (
        pytest.raises(ArtifactError, match=r"\['output_0'\], the manifest \['scores'\]"),
        TFLiteRunner().open(other),
    ):
        pass


def test_the_guides_lines_for_a_device_open_the_file_and_give_its_scores(
    exported, litert, tmp_path, monkeypatch
):
    artifact = exported("Residual").tflite
    (tmp_path / MODEL_FILE).write_bytes(artifact.file(MODEL_FILE).read_bytes())
    monkeypatch.chdir(tmp_path)
    page, names = ROOT / "docs/how-to/tflite.md", {"__name__": "__main__"}
    (block,) = [block for block in blocks(page) if block.needs == MODEL_FILE]
    run_block(page, block, names)
    assert names["scores"].shape == artifact.outputs[0].shape
    assert np.isfinite(names["scores"]).all()
