"""What a generated network is made of, as values: printed, they are the way to build it again."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

__all__ = [
    *("Attention", "Block", "Conv", "Excite", "Join", "Norm", "Optional", "PaddingMode"),
    *("Product", "Recipe", "Residual", "Resize", "Scaled", "Shared", "Split", "Training"),
    *("Transposed", "Unflattened"),
]

PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
Activation: TypeAlias = Literal["relu", "relu6", "hardswish", "silu", "leaky", "prelu", "none"]
Reader: TypeAlias = Literal[
    "next", "relu", "flatten", "permute", "concat", "add", "max", "average", "product"
]


@final
@dataclass(frozen=True, kw_only=True)
class Conv:
    """A convolution, perhaps with a batch norm and an activation behind it."""

    width: Literal[16, 8, 24, 32] = 16
    kernel: Literal[1, 3, 5] = 3
    groups: Literal["one", "two", "all"] = "one"
    stride: Literal[1, 2] = 1
    mode: PaddingMode = "zeros"
    norm: bool = False
    act: Activation = "relu"


@final
@dataclass(frozen=True, kw_only=True)
class Residual:
    """``act(x + f(x))``: the stream is read and written, a new tensor or in place."""

    layers: Literal[1, 2] = 1
    groups: Literal["one", "two", "all"] = "one"
    mode: PaddingMode = "zeros"
    norm: bool = False
    act: Activation = "relu"
    in_place: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Join:
    """A concatenation: with the input itself, of two layers, or of growing parts (dense)."""

    form: Literal["input", "two", "dense"] = "input"


@final
@dataclass(frozen=True, kw_only=True)
class Split:
    """Two halves of the channels, one goes through a layer; how the code takes them apart."""

    form: Literal["chunk", "list", "split", "slices", "grown", "shuffled"] = "chunk"


@final
@dataclass(frozen=True, kw_only=True)
class Transposed:
    """A transposed convolution that doubles the sides."""

    groups: Literal["one", "two"] = "one"
    kernel: Literal[2, 3] = 2
    norm: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Shared:
    """One layer called twice, on what it made itself or on two tensors."""

    form: Literal["again", "both"] = "again"


@final
@dataclass(frozen=True, kw_only=True)
class Optional:
    """A block whose argument may be left out, and is or is not."""

    given: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Training:
    """Code that acts in training only."""

    form: Literal["noise", "dropout", "functional", "drop_path", "norm_as_function"] = "noise"


@final
@dataclass(frozen=True, kw_only=True)
class Attention:
    """Attention over places, with the sizes read from one tensor or from another."""

    form: Literal["own_sizes", "flexible", "module", "covariance", "function", "encoder"] = (
        "own_sizes"
    )
    heads: Literal[2, 4] = 2


@final
@dataclass(frozen=True, kw_only=True)
class Excite:
    """Squeeze and excitation: its gate, how the code averages, and who reads the gate.

    Two readers are two products, or a product and its complement ``1 - gate`` (a highway).
    """

    gate: Literal["sigmoid", "hardsigmoid"] = "sigmoid"
    pool: Literal["layer", "mean", "flat"] = "layer"
    read: Literal["once", "twice", "highway"] = "once"


@final
@dataclass(frozen=True, kw_only=True)
class Product:
    """Two tensors multiplied, and what reads the product at once.

    Of two layers, of one with itself, with its own gate, with another layer's gate (WaveNet), with
    one gate for all channels of a place, or of a picture with pixels of a vector.
    """

    form: Literal["two", "itself", "swish", "tanh", "spatial", "vector"] = "two"
    then: Reader = "next"


@final
@dataclass(frozen=True, kw_only=True)
class Resize:
    """Other sides: pooled, grown, padded, or by channels that become places."""

    form: Literal["max", "average", "nearest", "linear", "pad", "places"] = "max"


@final
@dataclass(frozen=True, kw_only=True)
class Unflattened:
    """Pooled, a linear layer, and its result as channels and places again."""

    form: Literal["view", "module"] = "view"


@final
@dataclass(frozen=True, kw_only=True)
class Scaled:
    """A tensor times something that is no activation."""

    form: Literal["parameter", "own_weight", "buffer", "number"] = "parameter"


@final
@dataclass(frozen=True, kw_only=True)
class Norm:
    """A normalisation: not folded, of the user's own class with an activation, or frozen."""

    form: Literal["layer", "group", "instance", "batch", "with_activation", "frozen"] = "layer"


Block: TypeAlias = (
    Conv
    | Residual
    | Join
    | Split
    | Transposed
    | Shared
    | Optional
    | Training
    | Attention
    | Excite
    | Product
    | Resize
    | Scaled
    | Norm
    | Unflattened
)


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole network.

    Args:
        blocks: Between a first convolution to 16 channels and the head.
        head: A pooled classifier, a flattened one, one behind a mean over places, scores for each
            place, scores multiplied by a gate, two outputs, or two by name.
        axes: Pictures or signals.
        optional: The network itself has an argument that nobody gives.
        seed: Of the weights and the data.
    """

    blocks: tuple[Block, ...] = ()
    head: Literal["pooled", "flattened", "mean", "places", "gated", "two", "named"] = "pooled"
    axes: Literal[2, 1] = 2
    optional: bool = False
    seed: int = 0
