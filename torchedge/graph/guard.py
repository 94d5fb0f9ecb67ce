"""The guard of every transform: what it made computes what the user's network computes.

Outputs are compared with those of the original module on the example inputs, in both modes and, in
training mode, with the same random state.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias, final

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from torchedge.errors import TorchedgeError, TraceError
from torchedge.graph.copies import copied
from torchedge.graph.trace import evaluating

__all__ = [
    "TOLERANCE",
    "Arguments",
    "Reference",
    "deviation",
    "outputs_differ",
    "outputs_of",
    "reference_of",
    "tensors_in_output",
    "two_samples",
]

Arguments: TypeAlias = tuple[tuple[Any, ...], Mapping[str, Any]]

TOLERANCE = 1e-5
_SEED = 0
_ULPS = 2
_NOISE_FACTOR = 4.0
_MOST = 1e-3


@final
@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a network returns for its example inputs.

    Args:
        arguments: The inputs that it ran on in evaluation mode.
        evaluation: Its outputs there.
        training_arguments: Those that it ran on in training mode: the same, or two samples made of
            them where a batch norm needs several values a channel.
        training: Its outputs there; ``None`` if it does not run in training mode.
        reason: Why it does not.
        noise: How far its outputs move, as a share of their range, when weights and inputs are
            rounded differently; asked with whether it is in training mode.
    """

    arguments: Arguments
    evaluation: tuple[Tensor, ...]
    training_arguments: Arguments
    training: tuple[Tensor, ...] | None
    reason: str
    noise: Callable[[bool], float]


def reference_of(model: nn.Module, arguments: Arguments) -> Reference:
    """Run a network in both modes; it stays as it is.

    Raises:
        TraceError: It does not run on these inputs.
    """
    try:
        evaluation = _outputs(model, arguments, training=False)
    except TorchedgeError:
        raise
    except Exception as error:
        raise TraceError(
            f"{type(model).__name__} does not run on the example inputs "
            f"({_shapes(arguments)}): {_first_line(error)}. Give inputs that its forward takes."
        ) from error
    training_arguments, training, reason = _trained(model, arguments)

    def noise(in_training: bool) -> float:
        given = training_arguments if in_training else arguments
        wanted = _outputs(model, given, training=in_training)
        return outputs_differ(wanted, _rounded_differently(model, given, training=in_training))

    return Reference(
        arguments=arguments,
        evaluation=evaluation,
        training_arguments=training_arguments,
        training=training,
        reason=reason,
        noise=noise,
    )


def _trained(
    model: nn.Module, arguments: Arguments
) -> tuple[Arguments, tuple[Tensor, ...] | None, str]:
    reason = ""
    for given in (arguments, pytree.tree_map(two_samples, arguments)):
        try:
            return given, _outputs(model, given, training=True), ""
        except Exception as error:
            reason = reason or _first_line(error)
    return arguments, None, f"it does not run in training mode on the example inputs: {reason}"


def deviation(reference: Reference, made: nn.Module, *, training: bool) -> float:
    """The largest difference of any output as a share of that output's range.

    Zero where it is within what rounding explains: 1e-5, or in a network that enlarges differences
    of rounding, four times what rounding its weights and inputs differently does, 1e-3 at most.
    Infinite where structure, shapes or NaNs differ, or ``made`` does not run.
    """
    wanted = reference.training if training else reference.evaluation
    if wanted is None:
        return 0.0
    given = reference.training_arguments if training else reference.arguments
    try:
        if training:
            found = _outputs(made, given, training=True)
        else:
            with evaluating(made):
                found = outputs_of(made, given)
    except Exception:
        return float("inf")
    distance = outputs_differ(wanted, found)
    if distance <= TOLERANCE:
        return 0.0
    explained = distance <= _MOST and distance <= _NOISE_FACTOR * reference.noise(training)
    return 0.0 if explained else distance


def _outputs(model: nn.Module, arguments: Arguments, *, training: bool) -> tuple[Tensor, ...]:
    """Outputs of a copy, because running a network may change it."""
    return outputs_of(copied(model).train(training), arguments)


@torch.no_grad()
def outputs_of(ran: nn.Module, arguments: Arguments) -> tuple[Tensor, ...]:
    """Outputs with a random state of their own."""
    args, kwargs = pytree.tree_map(_own, arguments)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(_SEED)
        return tuple(tensor.detach() for tensor in tensors_in_output(ran(*args, **kwargs)))


def tensors_in_output(result: object) -> Iterator[Tensor]:
    """The tensors of an output in order, whatever holds them.

    Example:
        >>> [float(t) for t in tensors_in_output({"a": torch.ones(()), "b": [torch.zeros(())]})]
        [1.0, 0.0]
    """
    if isinstance(result, Tensor):
        yield result
    for part in _parts(result):
        yield from tensors_in_output(part)


def _parts(result: object) -> Iterable[object]:
    if isinstance(result, Mapping):
        return result.values()
    if isinstance(result, list | tuple):
        return result
    if is_dataclass(result):
        return [getattr(result, field.name) for field in fields(result)]
    return ()


def outputs_differ(wanted: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> float:
    """The largest difference of any output as a share of that output's range."""
    if [t.shape for t in wanted] != [t.shape for t in found]:
        return float("inf")
    return max((_distance(w, f) for w, f in zip(wanted, found, strict=True)), default=0.0)


def _distance(wanted: Tensor, found: Tensor) -> float:
    if wanted.numel() == 0:
        return 0.0
    if not wanted.is_floating_point():
        return float((wanted != found).to(torch.float32).mean())
    usable = wanted.isfinite()
    if not torch.equal(usable, found.isfinite()):
        return float("inf")
    wanted, found = (t.double()[usable] for t in (wanted, found))
    if wanted.numel() == 0:
        return 0.0
    largest = float((wanted - found).abs().amax())
    return largest / max(float(wanted.abs().amax()), 1e-12)


def _own(value: Any) -> Any:  # noqa: ANN401 - a leaf of any arguments
    return value.clone() if isinstance(value, Tensor) else value


def two_samples(value: Any) -> Any:  # noqa: ANN401 - a leaf of any arguments
    """A batch of twice as many, where a value is one.

    Example:
        >>> two_samples(torch.ones(1))
        tensor([1.0000, 0.5000])
    """
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    return torch.cat([value, value / 2 if value.is_floating_point() else value])


@torch.no_grad()
def _rounded_differently(
    model: nn.Module, arguments: Arguments, *, training: bool
) -> tuple[Tensor, ...]:
    """Outputs with every weight and input moved by some units in the last place, up or down."""
    shaken = copied(model).train(training)
    generator = torch.Generator().manual_seed(_SEED)

    def moved(value: Any) -> Any:  # noqa: ANN401 - a leaf of any arguments
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        signs = torch.randint(0, 2, value.shape, generator=generator).to(value) * 2 - 1
        return value * (1 + _ULPS * torch.finfo(value.dtype).eps * signs)

    for tensor in (*shaken.parameters(), *shaken.buffers()):
        tensor.copy_(moved(tensor))
    return outputs_of(shaken, pytree.tree_map(moved, arguments))


def _shapes(arguments: Arguments) -> str:
    leaves = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor)]
    return ", ".join(str(tuple(leaf.shape)) for leaf in leaves)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
