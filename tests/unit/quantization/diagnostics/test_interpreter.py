import weakref

import torch
from torch import fx, nn

from torchedge.quantization.diagnostics.interpreter import Run, tensors_in


def test_results_are_forgotten_after_their_last_reader(images):
    chain = fx.symbolic_trace(nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(9))))
    run, results = Run(chain, (images,)), []
    for node in chain.graph.nodes:
        results.append(weakref.ref(run.step(node)))
        alive = {id(result()) for result in results[1:] if result() is not None}
        assert len(alive) <= 1  # the batch, the first result, is ours


def test_a_fork_keeps_views_of_one_tensor_together(images):
    class Viewed(nn.Module):
        def forward(self, x):
            y = x + 1
            view = y.flatten(1)
            return view.mul_(2), y

    graph_module = fx.symbolic_trace(Viewed())
    nodes = list(graph_module.graph.nodes)
    run = Run(graph_module, (images,))
    for node in nodes[:3]:
        run.step(node)
    fork = run.fork()
    for node in nodes[3:]:
        forked = fork.step(node)
    for node in nodes[3:]:
        result = run.step(node)
    for found, expected in zip(forked, result, strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(result[1], 2 * (images + 1))


def test_all_real_tensors_of_an_output_are_found_in_order():
    a, b, c = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    found = tensors_in(
        {"boxes": [a, (b, None)], "labels": torch.zeros(4, dtype=torch.long), "c": c}
    )
    assert [len(tensor) for tensor in found] == [1, 2, 3]
    assert tensors_in("nothing") == []
