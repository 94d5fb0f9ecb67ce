"""What is proved of a network before it is pruned, and of the result before it is returned."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from torchedge.errors import PruningError
from torchedge.graph.trace import evaluating
from torchedge.pruning.dependency import Dependencies
from torchedge.pruning.tracking import tensors_in

__all__ = ["require_traced", "require_traced_training", "require_trains"]

_TOLERANCE = 1e-4  # of the largest value; sums in another order differ by far less
_ONE_VALUE = "Expected more than 1 value per channel"


def require_traced(model: nn.Module, found: Dependencies) -> None:
    """Refuse a network whose graph, with nothing removed, computes something else.

    Raises:
        PruningError: The outputs of the example inputs differ.
    """
    with torch.no_grad(), evaluating(model):
        wanted = model(*(x.clone() for x in found.example_inputs))
    if _differ(wanted, found.output):
        raise PruningError(_traced_message(model, "evaluation"))


def require_traced_training(model: nn.Module, graph: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """The same in training, with the same random numbers; for a result that is the graph.

    What is only returned in training, as an auxiliary head is, is not compared.

    Raises:
        PruningError: The outputs of the example inputs differ.
    """
    if _drops_attention(model):
        return
    seed = torch.random.get_rng_state()
    outputs = []
    for network in (model, graph):
        with torch.random.fork_rng():
            torch.random.set_rng_state(seed)
            result, problem = _tried(network, inputs, training=True, backward=False)
        if problem:
            return
        outputs.append(result)
    if _differ(*outputs) and _as_many(*outputs):
        raise PruningError(_traced_message(model, "training"))


def require_trains(pruned: nn.Module, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Refuse a result that cannot do what the original can: run and learn, in either mode.

    Raises:
        PruningError: It fails on the example inputs, where the original does not.
    """
    for training in (False, True):
        _, problem = _tried(pruned, inputs, training=training)
        if problem and not _tried(model, inputs, training=training)[1]:
            mode = "training" if training else "evaluation"
            raise PruningError(
                f"with fewer channels the network does not run in {mode} mode: {problem}; nothing "
                "was pruned. Leave that layer out (Limits.leave_out), or give another example "
                "input."
            )


def _tried(
    network: nn.Module, inputs: tuple[Tensor, ...], *, training: bool, backward: bool = True
) -> tuple[Any, str]:
    """The outputs of a copy, or what went wrong in which module.

    A batch norm in training needs two values of each channel; the batch is doubled for it.
    """
    result, problem = _ran(network, inputs, training, backward)
    if training and _ONE_VALUE in problem:
        inputs = tuple(torch.cat([x, x]) if x.ndim else x for x in inputs)
        result, problem = _ran(network, inputs, training, backward)
    return result, problem


def _ran(
    network: nn.Module, inputs: tuple[Tensor, ...], training: bool, backward: bool
) -> tuple[Any, str]:
    copied = copy.deepcopy(network).train(training)
    with torch.random.fork_rng(), _inside(copied) as path, torch.enable_grad():
        try:
            result = copied(*(x.clone() for x in inputs))
            if backward:
                _learn(result)
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            where = path() or "the model itself"
            return None, f"'{where}' fails ({str(error).splitlines()[0]})"
    return result, ""


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


def _differ(first: object, second: object) -> bool:
    pairs = list(zip(tensors_in(first), tensors_in(second), strict=False))
    return not _as_many(first, second) or any(_far(a, b) for a, b in pairs)


def _as_many(first: object, second: object) -> bool:
    return len(list(tensors_in(first))) == len(list(tensors_in(second)))


def _far(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return True
    if not first.is_floating_point() or first.numel() == 0:
        return not torch.equal(first, second)
    error = (first - second).detach().abs().nan_to_num().max()
    return bool(error > _TOLERANCE * first.detach().abs().nan_to_num().max() + 1e-6)


def _drops_attention(model: nn.Module) -> bool:
    """Whether attention that drops weights in training was opened, which then does not."""
    return any(isinstance(m, nn.MultiheadAttention) and m.dropout > 0 for m in model.modules())


def _traced_message(model: nn.Module, mode: str) -> str:
    return (
        f"the graph of {type(model).__name__} computes something else than its code in {mode} "
        "mode, before anything is removed. Write what depends on self.training or on an optional "
        "argument as modules (nn.Dropout for F.dropout), or prune the parts around it."
    )
