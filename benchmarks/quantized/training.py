"""What a training step with quantisation costs, eager and compiled, beside torchao's."""

import time
from collections.abc import Callable

import torch

from benchmarks import qat_step
from benchmarks.peers import torchao_qat
from benchmarks.peers.measure import Timing, interleaved
from benchmarks.peers.packages import attempted

__all__ = ["training"]

Step = Callable[[], object]


def training(*, rounds: int = 15, compiled: bool = True) -> dict[str, dict[str, Timing]]:
    """MobileNetV2 at 96 x 96, batch 16: steps in turn, ratios to the float step of that kind."""
    steps = qat_step.qat_steps(compiled=compiled)
    eager: dict[str, Step] = {"float": steps["float"], "torchedge": steps["qat"], **_peers()}
    found = {"eager": interleaved(eager, rounds=rounds)}
    if compiled:
        pair = {"float": steps["float compiled"], "torchedge": steps["qat compiled"]}
        begin = time.perf_counter()
        for step in pair.values():
            step()
        print(f"first compiled steps, float and QAT: {time.perf_counter() - begin:.0f} s together")
        found["compiled"] = interleaved(pair, rounds=rounds)
        print(f"graph breaks: {dict(torch._dynamo.utils.counters['graph_break']) or 'none'}")
    return found


def _peers() -> dict[str, Step]:
    images = torch.randn(qat_step.BATCH, 3, qat_step.SIZE, qat_step.SIZE)
    labels = torch.randint(0, qat_step.CLASSES, (qat_step.BATCH,))

    def step_of(prepare: Callable[..., torch.nn.Module]) -> Step:
        network = prepare(qat_step.float_model(), images)
        return torchao_qat.training_step(network, images, labels)

    found = {
        "torchao PT2E": attempted("torchao", lambda: step_of(torchao_qat.prepared_pt2e)),
        "torch.ao FX": attempted("torch.ao", lambda: step_of(torchao_qat.prepared_fx)),
    }
    return {name: step for name, step in found.items() if step is not None}
