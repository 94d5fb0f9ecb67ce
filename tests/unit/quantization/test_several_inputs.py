"""Networks with several inputs: whatever takes data takes theirs, in every form people have."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from torchedge.distillation.quantized import self_distillation
from torchedge.errors import DistillationError, UsageError
from torchedge.quantization import calibrate, prepare_qat
from torchedge.quantization.diagnostics import analyse, requantize, sensitivity
from torchedge.quantization.recovery import (
    correct_biases,
    equalize,
    quantize,
    reestimate_batchnorm,
    refit_last_layer,
    round_adaptively,
)

pytestmark = [  # a range that clips is told of, random networks have such; and Lightning's own
    pytest.mark.filterwarnings("ignore:the range clips:UserWarning"),
    pytest.mark.filterwarnings("ignore::Warning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]

_COUNT = 24


class _PictureAndFacts(nn.Module):
    def __init__(self):
        super().__init__()
        self.picture = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.facts, self.head = nn.Linear(5, 8), nn.Linear(16, 4)

    def forward(self, image, facts):
        seen = self.picture(image).mean((2, 3))
        return self.head(torch.cat([seen, torch.relu(self.facts(facts))], 1))


class _Records(Dataset):
    def __init__(self, image, facts):
        self.image, self.facts = image, facts

    def __len__(self):
        return _COUNT

    def __getitem__(self, index):
        return {"facts": self.facts[index], "label": index % 4, "image": self.image[index]}


@pytest.fixture
def network():
    return _PictureAndFacts().eval()


@pytest.fixture
def image():
    return torch.randn(_COUNT, 1, 6, 6)


@pytest.fixture
def facts():
    return torch.randn(_COUNT, 5)


@pytest.fixture
def pairs(image, facts):
    return list(zip(image.split(_COUNT), facts.split(_COUNT), strict=True))


_FORMS = {
    "tuples": lambda x, y: list(zip(x.split(_COUNT), y.split(_COUNT), strict=True)),
    "lists": lambda x, y: [[x, y]],
    "dictionaries": lambda x, y: [{"facts": y, "image": x}],
    "columns": lambda x, y: (x.numpy(), y.numpy()),
    "named arrays": lambda x, y: {
        "facts": y.numpy(),
        "image": x.numpy(),
        "label": np.zeros(24, int),
    },
    "loader of triples": lambda x, y: DataLoader(
        TensorDataset(x, y, torch.arange(_COUNT) % 4), _COUNT
    ),
    "dataset of dictionaries": _Records,
}


@pytest.mark.parametrize("form", _FORMS)
def test_quantising_takes_several_inputs_in_every_form_and_comes_out_alike(
    network, image, facts, pairs, form
):
    data = _FORMS[form](image, facts)
    found = quantize(network, "onnx-cpu", data, effort="fast")(image, facts)
    wanted = quantize(network, "onnx-cpu", pairs, effort="fast")(image, facts)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_every_effort_is_near_the_float_network(network, image, facts, pairs):
    for effort in ("fast", "balanced", "best"):
        error = quantize(network, "jetson", pairs, effort=effort)(image, facts) - network(
            image, facts
        )
        assert error.abs().max() < 0.05 * network(image, facts).abs().max()


def test_inputs_are_not_exchanged(network, image, facts, pairs):
    swapped = [(second, first) for first, second in pairs]
    with pytest.raises(UsageError, match="Expected 3D"):
        quantize(network, "jetson", swapped, effort="fast")


@pytest.mark.parametrize(
    "call",
    [
        analyse,
        sensitivity,
        correct_biases,
        lambda model, data: round_adaptively(model, data, iterations=1),
        lambda model, data: requantize(model, "onnx-cpu", data),
    ],
)
def test_parts_of_recovery_and_diagnostics_take_several_inputs(network, image, facts, pairs, call):
    model = calibrate(prepare_qat(network, "jetson", (image[:1], facts[:1])), pairs)
    assert call(model, pairs) is not None


def test_parts_that_need_the_float_network_take_several_inputs(network, image, facts, pairs):
    examples = {"image": image[:1], "facts": facts[:1]}
    model = calibrate(prepare_qat(network, "jetson", examples), pairs)
    refitted = refit_last_layer(model, network, pairs)
    equal = equalize(network, (image[:1], facts[:1]), batches=pairs)
    torch.testing.assert_close(equal(image, facts), network(image, facts), rtol=0, atol=1e-5)
    assert (refitted(image, facts) - network(image, facts)).abs().max() < 0.1
    prepared = prepare_qat(network, "jetson", examples)
    before = prepared.state_dict()
    assert any(
        not torch.equal(tensor, before[name])
        for name, tensor in reestimate_batchnorm(prepared, pairs).state_dict().items()
    )


@pytest.mark.parametrize("form", ["loader of triples", "dataset of dictionaries"])
def test_a_network_of_several_inputs_is_taught_by_its_original(network, image, facts, pairs, form):
    data = _FORMS[form](image, facts)
    loader = data if isinstance(data, DataLoader) else DataLoader(data, _COUNT)
    model = quantize(network, "jetson", pairs, effort="fast")
    before = model.get_submodule("head").layer.bias.clone()
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, **quiet)
    trainer.fit(self_distillation(model, network), loader)
    assert not torch.equal(before, model.get_submodule("head").layer.bias)


def test_a_batch_of_which_nobody_can_tell_the_inputs_is_one_line(network, image, pairs):
    task = self_distillation(quantize(network, "jetson", pairs, effort="fast"), network)
    with pytest.raises(DistillationError, match=r"student runs on the batch; the batch is one"):
        task._hard_loss(image, 0)
