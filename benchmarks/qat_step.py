"""How much longer is a training step with quantisation in it? Eager and compiled, in one run.

MobileNetV2 at 96x96, batch 16, SGD with momentum, the numbers of onnx-cpu (8-bit weights a channel,
asymmetric 8-bit activations everywhere, batch norms folded, observers on). The steps take turns, so
that what else the machine does meets all of them; the ratio is the median of each round's ratio.

Run with ``python benchmarks/qat_step.py``; ``--no-compile`` leaves out the minutes of compiling.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import TypeAlias

import torch
import torchvision
from torch import nn

from torchedge import exporting
from torchedge.quantization import prepare_qat

Step: TypeAlias = Callable[[], None]
BATCH, SIZE, CLASSES = 16, 96, 10


def qat_steps(*, compiled: bool = True) -> dict[str, Step]:
    """One training step a call: ``float`` and ``qat``, and both compiled where asked for."""
    torch.manual_seed(0)
    images, labels = torch.randn(BATCH, 3, SIZE, SIZE), torch.randint(0, CLASSES, (BATCH,))
    scheme = exporting.target("onnx-cpu").scheme
    plain = float_model
    models: dict[str, nn.Module] = {
        "float": plain(),
        "qat": prepare_qat(plain(), scheme, (images[:1],)),
    }
    if compiled:
        models["float compiled"] = torch.compile(plain())
        models["qat compiled"] = torch.compile(prepare_qat(plain(), scheme, (images[:1],)))
    return {name: training_step(model.train(), images, labels) for name, model in models.items()}


def float_model() -> nn.Module:
    """The same weights each time."""
    torch.manual_seed(0)
    model: nn.Module = torchvision.models.mobilenet_v2(num_classes=CLASSES)
    return model.train()


def training_step(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Step:
    """Forward, backward and one step of SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def milliseconds(step: Step) -> tuple[float, float]:
    """Wall time and processor time of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    step()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = qat_steps(compiled=not options.no_compile)
    for name, step in steps.items():
        warm_up = milliseconds(step)[0] + milliseconds(step)[0]
        print(f"{name}: {warm_up / 1e3:.1f} s for the first two steps", flush=True)
    torch._dynamo.config.error_on_recompile = True
    rounds = [{n: milliseconds(s) for n, s in steps.items()} for _ in range(options.rounds)]
    for name in steps:
        against = "float compiled" if name.endswith("compiled") else "float"
        wall, processor = (
            statistics.median(r[name][i] / r[against][i] for r in rounds) for i in (0, 1)
        )
        median = statistics.median(r[name][0] for r in rounds)
        print(
            f"{name:15s} {median:8.1f} ms, x{wall:.2f} of {against}, x{processor:.2f} in cpu time"
        )
    print(f"graph breaks: {dict(torch._dynamo.utils.counters['graph_break']) or 'none'}")


if __name__ == "__main__":
    main()
