"""A place to run, as data: device (facts), scheme (numbers), steps (way), budget (limits)."""

from dataclasses import dataclass, field
from typing import Protocol, final

from torchedge.arguments import require
from torchedge.devices import Device
from torchedge.errors import BudgetError, UnknownNameError
from torchedge.exporting.artifact import Artifact
from torchedge.exporting.step import ExportStep
from torchedge.kinds import fields_checked, kinds_checked
from torchedge.scheme import QuantScheme

__all__ = ["Budget", "Configure", "Target", "configured"]


@final
@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits an artefact must keep to; ``None`` is no limit.

    Args:
        flash_bytes: For everything the device stores.
        ram_bytes: For working memory.
        p90_latency_ms: For one inference, 90 times of 100.
    """

    flash_bytes: int | None = None
    ram_bytes: int | None = None
    p90_latency_ms: float | None = None

    def __post_init__(self) -> None:
        fields_checked(self)

    def check(
        self,
        artifact: Artifact,
        *,
        ram_bytes: int | None = None,
        p90_latency_ms: float | None = None,
    ) -> None:
        """Compare what is known with the limits; what was not measured is not judged.

        Args:
            artifact: Its ``details["deployed_files"]`` count as flash, all files where that is
                missing.
            ram_bytes: Working memory, measured on the device.
            p90_latency_ms: Latency, measured on the device.

        Raises:
            BudgetError: A limit is exceeded; the text says by how much.
        """
        deployed = artifact.details.get("deployed_files", list(artifact.files))
        flash_bytes = sum(artifact.record(str(name)).bytes for name in deployed)
        _require_within("bytes of flash", flash_bytes, self.flash_bytes, artifact)
        _require_within("bytes of RAM", ram_bytes, self.ram_bytes, artifact)
        _require_within("ms (p90)", p90_latency_ms, self.p90_latency_ms, artifact)


def _require_within(
    what: str, found: float | None, limit: float | None, artifact: Artifact
) -> None:
    if found is not None and limit is not None and found > limit:
        raise BudgetError(
            f"'{artifact.name}' ({artifact.format}) takes {found:,} {what}, {found - limit:,} more "
            f"than the budget of {limit:,}; prune or shrink the network, or pick a larger target."
        )


class Configure(Protocol):
    """Makes a variant of a target: other software on the board, or another precision."""

    def __call__(self, *, jetpack: str | None, precision: str | None) -> "Target":
        """The variant; ``None`` leaves the target's own choice."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a model will run, and how it gets there.

    Args:
        name: What ``--target`` takes.
        device: Facts about the board.
        scheme: The numbers to train with.
        steps: The way from the torch artefact, in order.
        budget: Limits to check.
        summary: One line for the table of targets.
        runs_float: It runs the float form of any network, so that ``scheme`` is what to train for
            the sake of other targets, and nothing is refused for its numbers.
        calibrates: A step chooses integers for a float network from its calibration samples.
        configure: Makes variants, where there are any; see :func:`configured`.
    """

    name: str
    device: Device
    scheme: QuantScheme
    steps: tuple[ExportStep, ...]
    budget: Budget = field(default_factory=Budget)
    summary: str = ""
    runs_float: bool = False
    calibrates: bool = False
    configure: Configure | None = None


@kinds_checked()
def configured(
    target: Target, *, jetpack: str | None = None, precision: str | None = None
) -> Target:
    """The target for other software on the board or another precision.

    Asked for neither, it is the target itself.

    Raises:
        UnknownNameError: The target has no variants, or not that one.
        SchemeError: The device does not have that precision.

    Example:
        >>> from torchedge.exporting import target
        >>> configured(target("jetson"), jetpack="5.1").summary
        'TensorRT INT8 bundle, JetPack 5.1'
    """
    for what, value in (("the JetPack", jetpack), ("the precision", precision)):
        text = value is None or isinstance(value, str)
        require(text, what, value, "write it as text, '5.1' or 'int8'")
    if jetpack is None and precision is None:
        return target
    if target.configure is None:
        raise UnknownNameError(
            f"{target.name} comes in one form only; leave --jetpack and --precision out."
        )
    return target.configure(jetpack=jetpack, precision=precision)
