import json

import pytest
import torch

from torchedge.errors import ArtifactError, UsageError
from torchedge.exporting import Normalisation, load_artifact


def test_a_normalisation_comes_back_from_the_manifest(save_model):
    wanted = Normalisation(mean=(-2.1,), deviation=(0.5,))
    saved = save_model(normalisation=wanted)
    assert saved.normalisation == wanted
    assert load_artifact(saved.path).normalisation == wanted


def test_where_it_is_not_known_there_is_none(save_model):
    assert load_artifact(save_model().path).normalisation is None


def test_steps_hand_it_on(save_model, tmp_path):
    from torchedge_onnx.step import TorchToOnnx

    wanted = Normalisation(mean=(0.5,), deviation=(0.25,))
    assert TorchToOnnx().export(save_model(normalisation=wanted), tmp_path).normalisation == wanted


@pytest.mark.parametrize(
    ("mean", "deviation"),
    [((), ()), ((0.0,), (1.0, 1.0)), ((0.0,), (0.0,)), ((0.0,), (-1.0,))],
)
def test_what_cannot_be_divided_by_is_refused(mean, deviation):
    with pytest.raises(UsageError, match="deviations above zero"):
        Normalisation(mean=mean, deviation=deviation)


def test_neither_one_number_nor_one_for_each_channel_is_refused(save_model, tmp_path):
    wrong = Normalisation(mean=(0.1, 0.2, 0.3), deviation=(1.0, 1.0, 1.0))
    with pytest.raises(UsageError, match=r"3 means for an input \[1, 1, 16, 16\]; give one, or 1"):
        save_model(normalisation=wrong)
    assert not (tmp_path / "trained").exists()
    wrong.require_fit((2, 3, 8, 8))
    with pytest.raises(UsageError, match=r"3 means for an input \[2\]"):
        wrong.require_fit((2,))


@pytest.mark.parametrize("broken", [{"mean": [0.0]}, {"mean": [0.0], "deviation": [0.0]}, 3])
def test_a_manifest_with_a_broken_one_is_no_manifest(save_model, broken):
    path = save_model().path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "normalisation": broken}))
    with pytest.raises(ArtifactError, match="is not a manifest"):
        load_artifact(path.parent)


def test_numbers_of_torch_are_plain_ones_in_the_manifest(save_model):
    numbers = tuple(torch.tensor([1.5]).tolist())
    saved = save_model(normalisation=Normalisation(mean=numbers, deviation=numbers))
    plain = json.loads((saved.path / "manifest.json").read_text())
    assert plain["normalisation"] == {"mean": [1.5], "deviation": [1.5]}
