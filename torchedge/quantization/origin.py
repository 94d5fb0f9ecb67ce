"""Where a prepared model comes from: the scheme that it carries, and the user's float network."""

from typing import Any, final

from torch import nn
from typing_extensions import override

from torchedge.graph.copies import copied
from torchedge.scheme import QuantScheme

__all__ = ["Origin", "hand_on_float_network", "origin_of", "with_float_network", "with_origin"]

_NAME = "torchedge_origin"


@final
class Origin(nn.Module):
    """What ``prepare_qat`` was given; a child of its result without parameters of its own.

    It stays where copies are made, also by pickling, and adds nothing to a ``state_dict``. All
    copies share the float network, which nothing changes.

    Args:
        scheme: The numbers that the model was prepared for.
        float_network: A copy of the network before that, or ``None`` where it is not known. A
            pickle does not hold it: it would then need the user's classes.
        is_trained: Whether the float network is known to be one whose answers are wanted, because
            it was quantised without training.
    """

    def __init__(
        self, scheme: QuantScheme, float_network: nn.Module | None, *, is_trained: bool = False
    ) -> None:
        super().__init__()
        self.scheme = scheme
        self.is_trained = is_trained
        self._hidden = (float_network,)  # inside a tuple, it is no child

    @property
    def float_network(self) -> nn.Module | None:
        """The network as the user had it, to be run and never to be changed."""
        return self._hidden[0]

    def forward(self) -> None:
        """Nothing: no graph calls it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Origin":
        copied = Origin(self.scheme, self.float_network, is_trained=self.is_trained)
        memo[id(self)] = copied
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_hidden": (None,)}

    @override
    def extra_repr(self) -> str:
        return f"activations {self.scheme.activation}"


def with_origin(prepared: nn.Module, scheme: QuantScheme, float_network: nn.Module) -> nn.Module:
    """Write into a prepared model, in place, what it was made from, and return it.

    Args:
        prepared: What ``prepare_qat`` is about to return.
        scheme: The scheme that it was prepared for.
        float_network: As the user gave it; it is copied, where it can be.
    """
    prepared.add_module(_NAME, Origin(scheme, _copied(float_network)))
    return prepared


def with_float_network(model: nn.Module, float_network: nn.Module) -> nn.Module:
    """Say in place, and return the model, which trained network was quantised.

    For what prepares another network than the user's, one that it equalised before.

    Args:
        model: It carries a scheme.
        float_network: The user's own; copied, where it can be.
    """
    origin = origin_of(model)
    if origin is not None:
        copied = _copied(float_network)
        model.add_module(_NAME, Origin(origin.scheme, copied, is_trained=True))
    return model


def hand_on_float_network(model: nn.Module, moved: nn.Module) -> None:
    """Let ``moved``, made from ``model``, be held against the same float network, in place."""
    before, after = origin_of(model), origin_of(moved)
    if after is not None:
        known = None if before is None else before.float_network
        is_trained = before is not None and before.is_trained
        moved.add_module(_NAME, Origin(after.scheme, known, is_trained=is_trained))


def origin_of(model: nn.Module) -> Origin | None:
    """What a model was made from, or ``None`` where it does not say.

    Example:
        >>> import copy
        >>> import torch
        >>> from torchedge.quantization import QuantScheme, prepare_qat
        >>> net = nn.Sequential(nn.Linear(3, 2))
        >>> prepared = prepare_qat(net, QuantScheme(), (torch.zeros(1, 3),))
        >>> origin_of(copy.deepcopy(prepared)).scheme == QuantScheme()
        True
        >>> origin_of(net) is None
        True
    """
    found = getattr(model, _NAME, None)
    return found if isinstance(found, Origin) else None


def _copied(network: nn.Module) -> nn.Module | None:
    """In evaluation mode, for good; ``None`` for a network that cannot be copied."""
    try:
        return copied(network).eval().requires_grad_(False)
    except Exception:  # a lock, an open file: there is no common base
        return None
