"""What pruning refuses, in one line each."""

from numbers import Real

from torch import nn

from torchedge.errors import PruningError

__all__ = ["require_float", "require_runs", "require_share", "require_sparsity"]

_QUANTISED = (
    *("torchedge.quantization.", "torch.ao.nn.quantized", "torch.ao.nn.qat"),
    *("torch.ao.nn.intrinsic.q", "torch.ao.quantization.fake", "torch.ao.quantization.observer"),
)


def require_sparsity(sparsity: float, *, reachable: float = 1.0) -> None:
    """Refuse a share that would leave nothing, or that the floors of layers forbid.

    Raises:
        PruningError: ``sparsity`` is no number, outside [0, 1), or above ``reachable``.
    """
    _require_number("the sparsity", sparsity)
    if not 0 <= sparsity < 1:
        raise PruningError(f"a sparsity of {sparsity} is not in [0, 1); 0.9 removes nine of ten.")
    if sparsity > reachable + 1e-9:
        raise PruningError(
            f"a sparsity of {sparsity} needs more than the {reachable:.4f} that the floors of the "
            "layers leave; lower least_kept or the sparsity."
        )


def require_share(share: float, what: str) -> None:
    """Refuse a share of the original that is not one.

    Raises:
        PruningError: ``share`` is no number, or outside (0, 1].
    """
    _require_number(what, share)
    if not 0 < share <= 1:
        raise PruningError(f"{what}={share} is not in (0, 1]; 0.5 leaves half of the original.")


def _require_number(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise PruningError(
            f"{what} is {value!r}, which is no number; write a share, 0.5 for a half."
        )


def require_runs(length: int, n: int, m: int) -> None:
    """Refuse runs that do not fit.

    Raises:
        PruningError: ``length`` is no multiple of ``m``, or ``n`` is not in 1 to ``m``.
    """
    if not 1 <= n <= m:
        raise PruningError(f"{n} of {m} weights cannot stay; give n from 1 to m.")
    if length % m:
        raise PruningError(
            f"{length} inputs are no multiple of {m}; leave that layer out, or choose another m."
        )


def require_float(model: nn.Module) -> None:
    """Refuse a network on integers.

    Raises:
        PruningError: A layer of it is quantised.
    """
    for name, module in model.named_modules():
        if type(module).__module__.startswith(_QUANTISED):
            raise PruningError(
                f"'{name or 'the model itself'}' is a quantised {type(module).__name__}; prune the "
                "float network, and quantise what is left."
            )
