"""torch.compile: one graph, the same numbers, and no second compilation.

Each check runs in an interpreter of its own: here the functions have their shapes checked, which
the compiler cannot follow.
"""

import pytest
import torch
from torch import multiprocessing, nn

from torchedge import exporting
from torchedge.quantization import FakeQuantize, QuantSpec, calibrate, minmax, prepare_qat
from torchedge.quantization.learned import learn_step_sizes

pytestmark = pytest.mark.slow

SCHEMES = {name: exporting.target(name).scheme for name in ("onnx-cpu", "jetson")}
SPECS = (
    QuantSpec(symmetric=False, signed=False),
    QuantSpec(narrow=True),
    QuantSpec(bits=4, symmetric=False),
    QuantSpec(scale_bits=4),
)
LEARNING_RATE = 0.05


def in_its_own_interpreter(check, *arguments):
    multiprocessing.spawn(_call, args=(check, arguments), nprocs=1)


def _call(rank, check, arguments):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    check(*arguments)


def prepared(scheme, images):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU6(), nn.Flatten(), nn.Linear(392, 4)
    )
    return calibrate(prepare_qat(net, scheme, (images[:1],)), [images], minmax)


def data():
    return torch.rand(32, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def training(model, images, steps):
    """Train one step at a time."""
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9)
    labels = torch.arange(len(images)) % 4
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        yield float(loss.detach())


def one_graph_and_no_second_compilation(scheme, learned):
    images = data()
    model = prepared(SCHEMES[scheme], images)
    model = (learn_step_sizes(model) if learned else model).train()
    before = {n: b.clone() for n, b in model.named_buffers() if n.endswith(("high", "mean"))}
    steps = training(torch.compile(model, fullgraph=True), images, 6)
    losses = [next(steps), next(steps)]
    torch._dynamo.config.error_on_recompile = True
    losses += list(steps)
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert losses[-1] < losses[0], losses
    moved = {n for n, value in before.items() if not torch.equal(model.get_buffer(n), value)}
    observed = {n for n in before if n.endswith("high") and "input" not in n}
    statistics = {n for n in before if n.endswith("mean")}
    assert observed
    assert statistics
    assert moved == (statistics if learned else statistics | observed), moved


@pytest.mark.parametrize("learned", [False, True], ids=["observed", "learned"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_training_is_one_graph_and_never_compiles_again(scheme, learned):
    in_its_own_interpreter(one_graph_and_no_second_compilation, scheme, learned)


def a_compiled_step_like_an_eager_one():
    images = data()
    eager, other = (prepared(SCHEMES["onnx-cpu"], images).train() for _ in range(2))
    loss = next(training(eager, images, 1))
    compiled_loss = next(training(torch.compile(other), images, 1))
    assert compiled_loss == pytest.approx(loss, rel=1e-3)
    for name, value in eager.named_buffers():
        if name.endswith(("low", "high")):
            # A convolution sums in another order, and a value at a tie may land one step away.
            step = float(eager.get_submodule(name.rsplit(".", 1)[0]).scale)
            assert float((other.get_buffer(name) - value).abs()) <= step, name
    for name, value in eager.named_parameters():
        change = float((other.get_parameter(name) - value).abs().max())
        assert change <= LEARNING_RATE * 1e-2, (name, change)


def test_a_compiled_step_computes_what_an_eager_step_does():
    in_its_own_interpreter(a_compiled_step_like_an_eager_one)


def same_bits_and_gradients():
    """Values at every half step, where a division turned into a product would round elsewhere."""
    x = torch.cat([torch.arange(-300, 300) * 0.5 * 0.0235, torch.randn(1000)])
    weights = torch.rand(len(x))
    for spec in SPECS:
        results = []
        for wrap in (lambda module: module, torch.compile):
            quantizer = FakeQuantize(spec, averaging=0.5)
            quantizer.set_range(torch.tensor(-1.0), torch.tensor(2.0))
            leaf = x.clone().requires_grad_()
            y = wrap(quantizer.train())(leaf)
            y.mul(weights).sum().backward()
            results.append((y.detach(), leaf.grad, quantizer.low, quantizer.high))
        for eager, compiled in zip(*results, strict=True):
            assert torch.equal(eager, compiled), spec
        assert 0 < int((results[0][1] == 0).sum()) < len(x)


def test_a_compiled_quantiser_returns_the_same_bits_and_gradients():
    in_its_own_interpreter(same_bits_and_gradients)


def no_mask_is_stored():
    stored = []

    def keep(tensor):
        stored.append(tensor.dtype)
        return tensor

    net = nn.Sequential(
        nn.Conv2d(4, 16, 1),
        nn.BatchNorm2d(16),
        nn.ReLU6(),
        FakeQuantize(QuantSpec()),
        nn.Conv2d(16, 4, 1),
    )
    compiled = torch.compile(net.train())
    x = torch.randn(2, 4, 16, 16)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compiled(x)
    assert stored
    assert torch.bool not in stored


def test_the_backward_pass_of_a_compiled_observer_stores_no_mask():
    """A stored mask was transposed twice a step, and made compiled training 1.7 times as slow."""
    in_its_own_interpreter(no_mask_is_stored)
