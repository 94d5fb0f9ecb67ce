"""What is proved of a pruned network before it is returned: it runs and learns."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from torchedge.errors import PruningError
from torchedge.graph.copies import copied
from torchedge.graph.faithful import EvaluationGraph
from torchedge.pruning.tracking import tensors_in

__all__ = ["require_trains"]

_ONE_VALUE = "Expected more than 1 value per channel"


def require_trains(pruned: nn.Module, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Refuse a result that cannot do what the original can: run and learn, in either mode.

    Raises:
        PruningError: It fails on the example inputs, where the original does not.
    """
    for training in (False, True):
        problem = _tried(pruned, inputs, training=training)
        if problem and not _tried(model, inputs, training=training):
            mode = "training" if training else "evaluation"
            raise PruningError(
                f"with fewer channels the network does not run in {mode} mode: {problem}; nothing "
                "was pruned. Leave that layer out (Limits.leave_out), or give another example "
                "input."
            )


def _tried(network: nn.Module, inputs: tuple[Tensor, ...], *, training: bool) -> str:
    """What goes wrong, and in which module; an empty text where all is well.

    A batch norm in training needs two values of each channel; the batch is doubled for it.
    """
    problem = _ran(network, inputs, training)
    if training and _ONE_VALUE in problem:
        doubled = tuple(torch.cat([x, x]) if x.ndim else x for x in inputs)
        problem = _ran(network, doubled, training)
    return problem


def _ran(network: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> str:
    if training and isinstance(network, EvaluationGraph):
        return ""
    tried = copied(network).train(training)
    with torch.random.fork_rng(), _inside(tried) as path, torch.enable_grad():
        try:
            _learn(tried(*(x.clone() for x in inputs)))
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            where = path() or "the model itself"
            return f"'{where}' fails ({str(error).splitlines()[0]})"
    return ""


def _learn(result: object) -> None:
    learned = [t for t in tensors_in(result) if t.requires_grad and t.is_floating_point()]
    if learned:
        torch.stack([t.float().sum() for t in learned]).sum().backward()


@contextmanager
def _inside(network: nn.Module) -> Iterator[Callable[[], str]]:
    """Tells the path of the module that is running, also after an error."""
    paths: list[str] = []
    handles = []
    for name, module in network.named_modules():
        enter = module.register_forward_pre_hook(lambda _, __, name=name: paths.append(name))
        leave = module.register_forward_hook(lambda _, __, ___: _left(paths))
        handles += [enter, leave]
    try:
        yield lambda: paths[-1] if paths else ""
    finally:
        for handle in handles:
            handle.remove()


def _left(paths: list[str]) -> None:
    paths.pop()
