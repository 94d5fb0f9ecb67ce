"""Whether a network fits into a device: every part of its memory, measured or estimated."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, final

from torchedge.errors import ArtifactError, BudgetError
from torchedge.reading.names import one_line
from torchedge.reading.plain import as_list, as_mapping, as_text, as_whole, each

__all__ = ["Evidence", "Fit", "Memory", "MemoryPart"]

Evidence: TypeAlias = Literal["measured", "estimated"]
_SHOWN = 3


@final
@dataclass(frozen=True, kw_only=True)
class MemoryPart:
    """One thing that takes memory.

    Args:
        name: For example ``tensor arena``.
        bytes: How much.
        evidence: Measured on this artefact, or estimated.
        how: What was measured, or what the estimate rests on.
    """

    name: str
    bytes: int
    evidence: Evidence
    how: str


@final
@dataclass(frozen=True, kw_only=True)
class Memory:
    """One kind of memory of a device, and what would lie in it.

    Args:
        kind: For example ``flash``.
        limit_bytes: What the device has for a program.
        parts: What takes it.
    """

    kind: str
    limit_bytes: int
    parts: tuple[MemoryPart, ...]

    @property
    def bytes(self) -> int:
        """All parts together."""
        return sum(part.bytes for part in self.parts)


@final
@dataclass(frozen=True, kw_only=True)
class Fit:
    """All memories of a device.

    Args:
        device: Its name.
        memories: One for each kind.

    Example:
        >>> arena = MemoryPart(name="tensor arena", bytes=300, evidence="measured", how="bisected")
        >>> memory = Memory(kind="RAM", limit_bytes=256, parts=(arena,))
        >>> Fit(device="Board", memories=(memory,)).require("digits")
        Traceback (most recent call last):
        torchedge.errors.BudgetError: 'digits' needs 300 bytes of RAM on Board, 44 more than its \
256. Largest: tensor arena 300 (measured). Shrink the network, or pick a larger target.
    """

    device: str
    memories: tuple[Memory, ...]

    def require(self, model: str, hints: Mapping[str, str] | None = None) -> None:
        """Refuse a network that does not fit.

        Args:
            model: Its name.
            hints: By kind of memory, what in the network takes most of it.

        Raises:
            BudgetError: The text says by how much, and names the largest parts.
        """
        for memory in self.memories:
            over = memory.bytes - memory.limit_bytes
            if over <= 0:
                continue
            hint = (hints or {}).get(memory.kind, "")
            raise BudgetError(
                f"'{model}' needs {memory.bytes:,} bytes of {memory.kind} on {self.device}, "
                f"{over:,} more than its {memory.limit_bytes:,}. Largest: "
                f"{_largest(memory.parts)}.{hint and f' {hint}.'} Shrink the network, or pick a "
                "larger target."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest; the inverse of :meth:`from_dict`."""
        return asdict(self)

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> "Fit":
        """Rebuild it from a manifest.

        Raises:
            ArtifactError: A field is missing or unknown.
        """
        try:
            return Fit(
                device=as_text(plain["device"]),
                memories=tuple(
                    Memory(
                        kind=as_text(memory["kind"]),
                        limit_bytes=as_whole(memory["limit_bytes"]),
                        parts=each(memory["parts"], _part),
                    )
                    for memory in as_list(plain["memories"])
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the manifest describes no memory ({one_line(error)}); export the model again."
            ) from error


def _part(plain: object) -> MemoryPart:
    part = MemoryPart(**as_mapping(plain))
    as_whole(part.bytes)
    for text in (part.name, part.evidence, part.how):
        as_text(text)
    return part


def _largest(parts: Sequence[MemoryPart]) -> str:
    ordered = sorted(parts, key=lambda part: -part.bytes)[:_SHOWN]
    return ", ".join(f"{part.name} {part.bytes:,} ({part.evidence})" for part in ordered)
