"""Channels removed, then trained with integers and exported: the integers are the small ones."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from tests.unit.distillation.networks import Task, trainer
from tests.unit.pruning.networks import made
from torchedge.backends import ONNX_RUNTIME
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.distillation import Hinton
from torchedge.distillation.lightning import DistillationModule
from torchedge.pruning import Limits, prune_by, prune_to
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.quantization.lightning import QuantizationAwareTraining
from torchedge.quantization.recovery import quantize, reestimate_batchnorm
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE, TorchToOnnx

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning"),
]


@pytest.fixture
def pruned(net, images):
    return prune_to(net, (images[:1],), macs=0.5, limits=Limits(multiple=2))


def loader(images):
    labels = torch.arange(len(images)) % 4
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), 8)


def exported(model, images, folder):
    artifact = CompressedModel(
        module=model, example_inputs=(images[:1],), samples=(images,), scheme=ONNX_RUNTIME
    ).save(folder / "torch")
    (folder / "onnx").mkdir()
    return artifact, TorchToOnnx().export(artifact, folder / "onnx").path / MODEL_FILE


def integer_shapes(path):
    """Shapes of the int8 weights in a file, and how many numbers they hold."""
    tensors = map(numpy_helper.to_array, onnx.load(path).graph.initializer)
    return sorted(t.shape for t in tensors if t.dtype == np.int8 and t.ndim > 1)


def weight_shapes(model):
    return sorted(tuple(p.shape) for name, p in model.named_parameters() if p.ndim > 1)


def assert_equal_there(artifact, path, images):
    session = open_model(path)
    with TorchRunner().open(artifact) as reference:
        for image in images.split(1):
            (wanted,) = reference(image.numpy())
            (found,) = session(image.numpy())
            assert np.abs(found - wanted).max() <= 1.001 * artifact.outputs[0].scale


def test_trained_with_integers_and_exported_the_weights_have_the_pruned_shapes(
    net, pruned, images, tmp_path
):
    prepared = prepare_qat(pruned, ONNX_RUNTIME, (images[:1],))
    model = calibrate(prepared, images.split(8), minmax)
    schedule = QuantizationAwareTraining(freeze_ranges_from_epoch=0, freeze_batchnorm_from_epoch=1)
    trainer(max_epochs=2, callbacks=[schedule]).fit(
        Task(model.train(), learning_rate=1e-2), loader(images)
    )
    artifact, path = exported(model.eval(), images, tmp_path)
    shapes = [shape for shape in weight_shapes(pruned) if len(shape) == 4]
    assert [shape for shape in integer_shapes(path) if len(shape) == 4] == shapes
    assert shapes != [shape for shape in weight_shapes(net) if len(shape) == 4]
    assert_equal_there(artifact, path, images)


def test_quantised_without_training_the_weights_have_the_pruned_shapes(pruned, images, tmp_path):
    model = quantize(pruned, ONNX_RUNTIME, images.split(8), effort="fast")
    artifact, path = exported(model, images, tmp_path)
    shapes = [shape for shape in weight_shapes(pruned) if len(shape) == 4]
    assert [shape for shape in integer_shapes(path) if len(shape) == 4] == shapes
    assert_equal_there(artifact, path, images)


def test_the_unpruned_network_teaches_the_pruned_one(net, pruned, images):
    def distance():
        with torch.no_grad():
            return float((pruned.eval()(images) - net.eval()(images)).square().mean())

    before = distance()
    task = DistillationModule(
        Task(pruned.train(), learning_rate=0.1),
        net,
        {"hinton": (1.0, Hinton(2.0))},
        hard_weight=0.0,
    )
    trainer(max_epochs=20).fit(task, loader(images))
    assert distance() < 0.5 * before


def test_batch_norms_know_the_pruned_network_after_they_are_estimated_anew():
    model, _ = made("batch_norm")
    x = torch.randn(64, 3, 8, 8)
    pruned = prune_by(model, (x[:1],), 0.5, limits=Limits(multiple=1))
    updated = reestimate_batchnorm(pruned, [x])
    with torch.no_grad():
        inner = updated[:4](x)
    # The first norm used the biased variance then and the unbiased one now: 1 in 4,096 samples.
    torch.testing.assert_close(updated[4].running_mean, inner.mean((0, 2, 3)), rtol=0, atol=1e-3)
    assert float((updated[4].running_mean - pruned[4].running_mean).abs().max()) > 0.1
