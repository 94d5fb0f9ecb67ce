"""The numbers a backend computes with: what training and a device shake hands on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast, final, get_args

from torchedge.arguments import require
from torchedge.errors import SchemeError
from torchedge.kinds import fields_checked

__all__ = ["BiasKind", "GatedKind", "OperationKind", "Placement", "QuantScheme", "QuantSpec"]

OperationKind = Literal[
    "input",
    "conv",
    "linear",
    "batch_norm",
    "activation",
    "nonlinear",
    "sigmoid",
    "tanh",
    "softmax",
    "add",
    "multiply",
    "concat",
    "average_pool",
    "resize",
]
_GRIDS = ("weight", "activation", "linear_weight")
_SETS = ("inputs_of", "outputs_of", "same_scale", "gated")
GatedKind = Literal["silu", "hardswish"]
BiasKind = Literal["float", "float_on_grid", "int32"]


@final
@dataclass(frozen=True, kw_only=True)
class QuantSpec:
    """Integer grid of one tensor, without its scale.

    Args:
        bits: Width of the integers, 2 to 8.
        symmetric: Zero point 0 and a range mirrored at zero; otherwise the zero point is fitted.
        axis: Channel axis that has a scale for each channel, or ``None`` for one scale.
        narrow: Leave out the most negative integer, so that the grid is -127…127 for 8 bits.
        signed: int8-style integers; otherwise they start at 0, as uint8 does.
        scale_bits: Round scales up to this many significant bits, 2 to 24. With 4, sums of products
            of two such tensors are exact in float32 up to 2^24 steps, so every runtime that
            simulates the integers in float gets the same bits; the scale grows by 6 % on average.
        group_size: Of a weight: so many input channels, with all their kernel positions, share a
            scale within each output channel; the last group has what is left. ``None`` is one
            scale for the whole channel.

    Raises:
        SchemeError: The bits are no whole number or outside 2…8, the scale's bits outside 2…24, an
            unsigned grid is asked to be symmetric, or groups are empty or without a channel axis.

    Example:
        >>> QuantSpec(bits=8, narrow=True).quant_min
        -127
        >>> QuantSpec(symmetric=False, signed=False).quant_max
        255
    """

    bits: int = 8
    symmetric: bool = True
    axis: int | None = None
    narrow: bool = False
    signed: bool = True
    scale_bits: int | None = None
    group_size: int | None = None

    def __post_init__(self) -> None:
        fields_checked(self, error=SchemeError)
        if not 2 <= self.bits <= 8:
            raise SchemeError(f"bits = {self.bits} is outside 2…8; pick a width in that range.")
        if self.scale_bits is not None and not 2 <= self.scale_bits <= 24:
            raise SchemeError(
                f"scale_bits = {self.scale_bits} is outside 2…24; leave it out for any scale."
            )
        if self.symmetric and not self.signed:
            raise SchemeError("an unsigned grid cannot be symmetric; set symmetric=False.")
        if self.group_size is not None and self.group_size < 1:
            raise SchemeError(f"group_size = {self.group_size}; a group holds 1 channel or more.")
        if self.group_size is not None and self.axis not in {0, 1}:
            raise SchemeError(
                f"groups of {self.group_size} input channels need the axis of the output channels, "
                f"0 or 1, not {self.axis}; set axis=0 (axis=1 for transposed convolutions)."
            )

    def __str__(self) -> str:
        """Short form for people, for example ``uint8, asymmetric``."""
        kind = f"{'int' if self.signed else 'uint'}{self.bits}"
        words = [kind, "symmetric" if self.symmetric else "asymmetric"]
        words += ["narrow"] if self.narrow else []
        words += [] if self.axis is None else [f"per channel of axis {self.axis}"]
        words += [] if self.group_size is None else [f"in groups of {self.group_size}"]
        return ", ".join(words)

    @property
    def quant_min(self) -> int:
        """Smallest integer of the grid."""
        lowest = -(2 ** (self.bits - 1)) if self.signed else 0
        return lowest + 1 if self.narrow else lowest

    @property
    def quant_max(self) -> int:
        """Largest integer of the grid."""
        return int(2 ** (self.bits - 1)) - 1 if self.signed else int(2**self.bits) - 1


@final
@dataclass(frozen=True, kw_only=True)
class Placement:
    """Which activations a backend wants quantised, by the kind of operation next to them.

    Args:
        inputs_of: Operations that read integers; each tensor they read gets a quantiser.
        outputs_of: Operations whose result is stored as integers, after a fused ReLU.
        same_scale: Operations that compute in their operand's scale, so that one quantiser serves
            both sides. Operations that only select values (a concatenation read by integer
            operations, a slice, a pad) always do.
        fused_add: The addition runs inside the convolution before it, so only the other (skip)
            operand is quantised; otherwise an addition follows the first two sets.
        fixed_outputs: A quantised sigmoid or softmax has the range [0, 1) and a quantised tanh
            [-1, 1), in 256 steps, whatever the data.
        gated: Activations that are computed as the product of a tensor with its gate, ``x·σ(x)``:
            the gate is a tensor of its own and gets a quantiser as any other.
    """

    inputs_of: frozenset[OperationKind] = frozenset()
    outputs_of: frozenset[OperationKind] = frozenset()
    same_scale: frozenset[OperationKind] = frozenset()
    fused_add: bool = False
    fixed_outputs: bool = False
    gated: frozenset[GatedKind] = frozenset()


EVERYWHERE = Placement(
    inputs_of=frozenset({"conv", "linear", "add", "average_pool", "concat"}),
    outputs_of=frozenset({"input", "conv", "linear", "add", "average_pool"}),
)


@final
@dataclass(frozen=True, kw_only=True)
class QuantScheme:
    """All numbers of one backend: weights, activations, biases and where quantisers sit.

    Args:
        weight: Grid of every weight.
        linear_weight: Grid of the weights of linear layers, where it is another one.
        activation: Grid of every quantised activation.
        placement: Which activations are quantised.
        bias: Biases are float, float but a multiple of ``input scale · weight scale``, or int32
            with that scale.

    Raises:
        SchemeError: A grid is none.

    Example:
        >>> QuantScheme() == QuantScheme.from_dict(QuantScheme().to_dict())
        True
    """

    weight: QuantSpec = field(default_factory=lambda: QuantSpec(axis=0, narrow=True))
    activation: QuantSpec = field(default_factory=QuantSpec)
    placement: Placement = EVERYWHERE
    bias: BiasKind = "float"
    linear_weight: QuantSpec | None = None

    def __post_init__(self) -> None:
        fields_checked(self, *_GRIDS, "placement", error=SchemeError)
        grids = {"weight": self.weight, "activation": self.activation}
        grids |= {} if self.linear_weight is None else {"linear_weight": self.linear_weight}
        for name, grid in grids.items():
            way_out = "give a grid, QuantSpec(bits=8)"
            require(isinstance(grid, QuantSpec), name, grid, way_out, SchemeError)
        way_out = "give Placement(…), or leave it out"
        kind = isinstance(self.placement, Placement)
        require(kind, "placement", self.placement, way_out, SchemeError)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest; the inverse of :meth:`from_dict`."""
        plain = asdict(self)
        for name in _SETS:
            plain["placement"][name] = sorted(plain["placement"][name])
        return plain

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> "QuantScheme":
        """Rebuild a scheme from a manifest.

        Raises:
            SchemeError: A field is missing, unknown or of the wrong type.
        """
        try:
            placement: dict[str, Any] = {
                "gated": (),
                **plain["placement"],
            }
            for name in _SETS:
                placement[name] = frozenset(placement[name])
            linear_weight = plain["linear_weight"]
            return QuantScheme(
                weight=QuantSpec(**plain["weight"]),
                activation=QuantSpec(**plain["activation"]),
                placement=Placement(**placement),
                bias=_bias_kind(plain["bias"]),
                linear_weight=None if linear_weight is None else QuantSpec(**linear_weight),
            )
        except (KeyError, TypeError) as error:
            raise SchemeError(
                f"the manifest describes no valid scheme ({error}); export the model again."
            ) from error


def _bias_kind(text: str) -> BiasKind:
    if text not in get_args(BiasKind):
        raise SchemeError(f"there is no kind of bias {text!a}; use one of {get_args(BiasKind)}.")
    return cast(BiasKind, text)
