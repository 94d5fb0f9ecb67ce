"""A name is a name and never a path."""

import pytest
import torch
from torch import nn

from torchedge.compressed import CompressedModel
from torchedge.errors import ArtifactError, UsageError
from torchedge.reading.names import require_file_name, require_model_name, require_text

PATHS = ["../../../../escaped", "/etc/passwd", "a/b", "a\\b", "C:x", ".hidden", "..", "-rf"]
ODD = [
    "",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "a" * 101,
    "ä" * 60,
    "CON",
    "nul.txt",
    "Com1",
    "x.",
    "x ",
    " x",
]


@pytest.mark.parametrize("name", PATHS + ODD)
def test_a_name_that_is_a_path_or_no_name_is_refused(name):
    with pytest.raises(UsageError, match="give a plain name"):
        require_model_name(name)


@pytest.mark.parametrize("name", ["digits", "keyword spotter 2", "mobilenet_v2.5", "größe", "数字"])
def test_a_plain_name_is_kept(name):
    assert require_model_name(name) == name


@pytest.mark.parametrize("name", ["../../escaped", "a\nb", "\x1b[2J"])
def test_a_model_is_not_saved_under_a_name_that_is_a_path(name, tmp_path):
    x = torch.rand(2, 3)
    model = CompressedModel(
        module=nn.Linear(3, 2), example_inputs=(x[:1],), samples=(x,), name=name
    )
    with pytest.raises(UsageError, match="plain name"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a\nb", "\x1b]0;title\x07", "\u202egnp.exe"])
def test_a_model_is_not_saved_with_a_class_that_a_terminal_would_obey(name, tmp_path):
    x = torch.rand(2, 3)
    model = CompressedModel(
        module=nn.Linear(3, 2), example_inputs=(x[:1],), samples=(x,), class_names=("a", name)
    )
    with pytest.raises(UsageError, match="the name of a class"):
        model.save(tmp_path / "model")


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "a\\x", "C:/x", "a//x", "a/.x", "a/nul"]
)
def test_a_file_is_listed_by_a_path_inside_the_folder_only(name):
    with pytest.raises(ArtifactError, match="the manifest lists"):
        require_file_name(name)


@pytest.mark.parametrize("text", ["chat noir", "", "हिन्दी\u200d", "日本語", "crème brûlée"])
def test_words_of_every_script_are_kept(text):
    assert require_text("a class", text) == text
