import pytest
import torch
from torch import nn

from torchedge.backends import ONNX_RUNTIME
from torchedge.errors import SchemeError, UnknownNameError
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.quantization.bit_widths import with_bits
from torchedge.quantization.learned import learn_step_sizes


@pytest.fixture
def model(net, images):
    return calibrate(prepare_qat(net, ONNX_RUNTIME, (images[:1],)), images.split(8), minmax)


def test_a_layer_gets_its_bits_on_a_copy(model, images):
    changed = with_bits(model, {"project": 3})
    assert changed.project.spec.bits == 3
    assert model.project.spec.bits == 8
    weight = changed.project.on_grid(changed.project.folded()[0])
    assert all(len(channel.unique()) <= 7 for channel in weight)  # narrow: -3…3
    assert changed.depthwise.spec.bits == 8


def test_scales_of_another_width_are_dropped_and_of_the_same_kept(model, images):
    learned = learn_step_sizes(model)
    torch.nn.init.constant_(learned.depthwise.log_scale_change, 0.1)
    changed = with_bits(learned, {"project": 4, "depthwise": 8})
    assert changed.project.log_scale_change is None
    assert changed.project.start_share is None
    assert torch.equal(changed.depthwise.log_scale_change, learned.depthwise.log_scale_change)
    changed.load_state_dict(changed.state_dict())


def test_in_float_a_layer_takes_its_private_input_along(model, images):
    changed = with_bits(model, {"classifier": 32, "depthwise": 32})
    assert not changed.classifier.enabled
    assert not changed.quantizers.pool.enabled
    assert changed.quantizers.stem_2.enabled  # the addition reads it too
    back = with_bits(changed, {"classifier": 8, "depthwise": 8})
    assert back.classifier.enabled
    assert back.quantizers.pool.enabled
    with torch.no_grad():
        assert torch.equal(back.eval()(images), model.eval()(images))


def test_layers_that_are_not_there_are_named(model):
    with pytest.raises(UnknownNameError, match=r"no quantised layer 'stem'; it has stem\.0"):
        with_bits(model, {"stem": 4})
    with pytest.raises(SchemeError, match="2 to 8"):
        with_bits(model, {"project": 16})
    with pytest.raises(SchemeError, match="prepare_qat"):
        with_bits(torch.nn.Linear(1, 1), {})


class PaddedByShape(nn.Module):
    """Reads the shape of its input, and pads it, as EfficientNet-Lite does."""

    def __init__(self):
        super().__init__()
        self.pad = nn.ZeroPad2d(1)
        self.first = nn.Conv2d(1, 4, 3)
        self.second = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        batch = x.size(0)
        return self.second(self.first(self.pad(x)).relu()).view(batch, -1)


def padded(images):
    model = prepare_qat(PaddedByShape().eval(), ONNX_RUNTIME, (images[:1],))
    return calibrate(model, [images], minmax)


def test_an_input_whose_shape_is_read_as_well_goes_with_its_layer(images):
    changed = with_bits(padded(images), {"first": 32})
    assert not changed.quantizers.x.enabled
    assert changed.quantizers.relu.enabled  # the second layer reads it


def test_between_two_layers_in_float_nothing_is_rounded(images):
    model = with_bits(padded(images), {"first": 32, "second": 32})
    assert [name for name, q in model.quantizers.named_children() if q.enabled] == ["second"]


def test_what_a_layer_on_integers_writes_stays_on_its_grid(images):
    changed = with_bits(padded(images), {"second": 32})
    assert changed.quantizers.relu.enabled
    both = with_bits(changed, {"first": 32})
    assert not both.quantizers.relu.enabled
