"""A file that is damaged or belongs to something else."""

from dataclasses import replace

import pytest

from torchedge.errors import ArtifactError
from torchedge.export import TensorSpec
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
