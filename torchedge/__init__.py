"""torchedge: from a trained PyTorch network to verified artefacts on edge devices.

Importing this package costs nothing and has no effect: what is named below is imported when it is
first used. The rooms behind it, such as ``torchedge.quantization``, have the rest.

Example:
    >>> import torchedge
    >>> "raspberry-pi-4" in torchedge.targets()
    True
"""

from torchedge.version import __version__

TYPE_CHECKING = False  # for type checkers; the import of typing would cost more than all else here

if TYPE_CHECKING:
    from torchedge.api.artifacts import export, load, save, target, targets, verify
    from torchedge.api.compression import compress
    from torchedge.api.techniques import (
        analyse,
        calibrate,
        describe,
        distill,
        prepare_qat,
        prune_channels,
        prune_weights,
        quantize,
    )
    from torchedge.pruning.lightning import GradualPruning
    from torchedge.quantization.lightning import QuantizationAwareTraining

__all__ = [
    "GradualPruning",
    "QuantizationAwareTraining",
    "__version__",
    "analyse",
    "calibrate",
    "compress",
    "describe",
    "distill",
    "export",
    "load",
    "prepare_qat",
    "prune_channels",
    "prune_weights",
    "quantize",
    "save",
    "target",
    "targets",
    "verify",
]

_HOMES = {
    **dict.fromkeys(
        ("export", "load", "save", "target", "targets", "verify"), "torchedge.api.artifacts"
    ),
    "compress": "torchedge.api.compression",
    **dict.fromkeys(
        ("analyse", "calibrate", "describe", "distill", "prepare_qat"), "torchedge.api.techniques"
    ),
    **dict.fromkeys(("prune_channels", "prune_weights", "quantize"), "torchedge.api.techniques"),
    "GradualPruning": "torchedge.pruning.lightning",
    "QuantizationAwareTraining": "torchedge.quantization.lightning",
}


def __getattr__(name: str) -> object:
    """Import what is asked for, and keep it (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'torchedge' has no attribute '{name}'")
    from importlib import import_module

    found: object = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
