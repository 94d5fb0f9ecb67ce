import pytest
import torch
from torch import nn

from torchedge.models import KeywordSpotter, WideKeywordSpotter

CLIPS = torch.randn(2, 40, 49, generator=torch.Generator().manual_seed(0))


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_accumulates(model, clips):
    """Counted where they happen: outputs times what each of them sums."""
    counts = []

    def count(module, inputs, output):
        each = module.weight[0].numel()
        counts.append(output[0].numel() * each)

    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            module.register_forward_hook(count)
    model(clips)
    return sum(counts)


def test_the_spotter_has_as_many_parameters_and_operations_as_its_docstring_says():
    model = KeywordSpotter().eval()
    # 40·5·32 + 64, 32·5·64 + 128, 64·128 + 128, 128·12 + 12; batch norms have two a channel.
    assert parameters(model) == 6464 + 10_368 + 8320 + 1548 == 26_700
    # 45 and 18 places of the convolutions, and two layers at one place.
    assert multiply_accumulates(model, CLIPS) == 45 * 6400 + 18 * 10_240 + 8192 + 1536 == 482_048
    assert "26,700 parameters and 0.48 M" in KeywordSpotter.__doc__


def test_the_teacher_is_several_times_as_large_as_the_docstring_says():
    ratio = parameters(WideKeywordSpotter()) / parameters(KeywordSpotter())
    assert f"{round(ratio)} times the parameters" in WideKeywordSpotter.__doc__


@pytest.mark.parametrize("kind", [KeywordSpotter, WideKeywordSpotter])
def test_there_is_a_score_for_each_class_and_clips_do_not_mix(kind):
    model = kind(classes=5).eval()
    together, alone = model(CLIPS), model(CLIPS[:1])
    assert together.shape == (2, 5)
    assert torch.allclose(together[:1], alone, atol=1e-5)
