import json
import shutil

import pytest

from torchedge import exporting
from torchedge.errors import ArtifactError
from torchedge.exporting.artifact import copy_artifact, load_artifact, write_artifact
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.quantization.diagnostics import analyse, attach, markdown
from torchedge.report import verify
from torchedge.report.diagnostics import diagnostics_of


@pytest.fixture
def analysis(net, images):
    scheme = exporting.target("onnx-cpu").scheme
    prepared = calibrate(prepare_qat(net, scheme, (images[:1],)), images.split(8), minmax)
    return analyse(prepared, [images])


def exported(artifact, folder):
    folder.mkdir()
    target = exporting.target("onnx-cpu")
    source = copy_artifact(artifact, folder / "torch")
    return verify(source, exporting.export_chain(source, target, folder), target)


def test_an_attached_analysis_is_sealed_with_the_model(analysis, save_model):
    artifact = attach(analysis, save_model())
    again = load_artifact(artifact.path)
    assert again == artifact
    assert {"program.pt2", "diagnostics/sqnr.png", "diagnostics/analysis.json"} <= set(again.files)
    assert attach(analysis, again).files.keys() == again.files.keys()


def test_the_report_shows_text_figures_and_pictures(analysis, save_model, tmp_path):
    report = exported(attach(analysis, save_model()), tmp_path / "out")
    page = report.to_markdown()
    _, section = page.split("## Where accuracy is lost\n")
    assert markdown(analysis).rstrip() in section
    for name in ("sqnr", "weights", "activations"):
        assert f"![{name}](torch/diagnostics/{name}.png)" in section
        assert (tmp_path / f"out/torch/diagnostics/{name}.png").is_file()
    plain = json.loads(report.to_json())["diagnostics"]
    assert plain["output_sqnr_db"] == analysis.output_sqnr_db
    assert len(plain["tensors"]) == len(analysis.rows)


def test_without_an_analysis_the_report_has_no_such_section(save_model, tmp_path):
    report = exported(save_model(), tmp_path / "out")
    assert report.diagnostics is None
    assert "Where accuracy is lost" not in report.to_markdown()
    assert json.loads(report.to_json())["diagnostics"] is None


def test_figures_that_are_no_json_are_refused(analysis, save_model):
    artifact = attach(analysis, save_model())
    (artifact.path / "diagnostics/analysis.json").write_text("not")
    with pytest.raises(ArtifactError, match=r"analysis\.json' is not valid JSON"):
        diagnostics_of(write_artifact(artifact))


def test_a_picture_that_is_gone_is_noticed(analysis, save_model):
    artifact = attach(analysis, save_model())
    shutil.rmtree(artifact.path / "diagnostics")
    with pytest.raises(ArtifactError, match="diagnostics"):
        load_artifact(artifact.path)
