import torch
from torch import nn
from torch.nn.utils import prune

from torchedge import exporting
from torchedge.quantization import calibrate, freeze, minmax, prepare_qat

ONNX = exporting.target("onnx-cpu").scheme


def test_a_network_pruned_by_hooks_is_prepared_trained_and_frozen_with_its_zeros(net, images):
    prune.l1_unstructured(net.project, "weight", 0.5)
    net(images).sum().backward()  # leaves a product with a history on the layer
    zeros = net.project.weight_mask == 0
    model = calibrate(prepare_qat(net, ONNX, (images[:1],)), [images], minmax).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        model(images).square().sum().backward()
        optimizer.step()
    frozen = freeze(model, bias="int32")
    weight = frozen.get_submodule("project").layer.weight
    assert zeros.sum() == weight.numel() // 2
    assert torch.equal(weight[zeros], torch.zeros(int(zeros.sum())))
    assert torch.count_nonzero(weight[~zeros]) > 0.8 * (~zeros).sum()


def test_preparing_leaves_the_hooks_of_the_float_network_alone(net, images):
    prune.l1_unstructured(net.project, "weight", 0.5)
    before = net.eval()(images)
    prepare_qat(net, ONNX, (images[:1],))
    assert prune.is_pruned(net.project)
    assert isinstance(net.project.weight_orig, nn.Parameter)
    assert torch.equal(net(images), before)
