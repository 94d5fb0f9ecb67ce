"""What each operation of a network does to its tensor: the tables that placement reads."""

from typing import Literal, TypeAlias

from torch import fx, nn
from torch.nn.utils import parametrize

from torchedge.graph.trace import DROPS_PATHS
from torchedge.graph.values import is_unchanged, result_of
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer

__all__ = ["FLOAT_LAYERS", "SELECTING", "Kind", "kind_of", "operands", "vanishes"]

Kind: TypeAlias = Literal[
    "input",
    "output",
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
    "select",
    "same_values",
    "quantizer",
    "normalisation",
    "shape",
    "float",
]

# Every value of the result is a value of the operand, or zero. Runtimes carry integers through
# "same_values" by themselves; after "select" and "concat" they want to be told the grid again.
SELECTING: frozenset[Kind] = frozenset({"same_values", "select", "concat"})

# Layers with weights that stay in float on purpose: their integers would cost more than they save.
FLOAT_LAYERS: tuple[type[nn.Module], ...] = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)

_MODULE_KINDS: tuple[tuple[tuple[type[nn.Module], ...], Kind], ...] = (
    (
        (
            *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
            *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        ),
        "conv",
    ),
    ((nn.Linear,), "linear"),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), "batch_norm"),
    ((nn.ReLU, nn.ReLU6), "activation"),
    (
        (
            *(nn.Hardswish, nn.SiLU, nn.GELU, nn.Mish, nn.ELU, nn.CELU, nn.SELU, nn.Softplus),
            *(nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh, nn.LogSigmoid, nn.Softsign),
        ),
        "nonlinear",
    ),
    ((nn.Sigmoid, nn.Hardsigmoid), "sigmoid"),
    ((nn.Tanh,), "tanh"),
    ((nn.Softmax,), "softmax"),
    (
        (
            *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
            *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
        ),
        "average_pool",
    ),
    (
        (
            *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.Flatten, nn.Unflatten, nn.Identity),
            *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
            nn.FeatureAlphaDropout,
        ),
        "same_values",
    ),
    (
        (
            *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
            *(nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.UpsamplingNearest2d),
            *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
            *(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad1d, nn.ReplicationPad2d),
        ),
        "select",
    ),
    ((nn.Upsample, nn.UpsamplingBilinear2d), "resize"),
    (FLOAT_LAYERS, "normalisation"),
    ((FakeQuantize,), "quantizer"),
)
_ZERO_PADS = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NAMES_OF_KIND: dict[Kind, str] = {
    "activation": "relu relu_ relu6",
    "nonlinear": (
        "hardswish silu gelu mish elu celu selu softplus leaky_relu leaky_relu_ prelu "
        "hardtanh hardtanh_ clamp clamp_ clip"
    ),
    "sigmoid": "sigmoid sigmoid_ hardsigmoid",
    "tanh": "tanh tanh_",
    "softmax": "softmax",
    "add": "add iadd add_",
    "multiply": "mul imul mul_ multiply",
    "concat": "cat concat concatenate",
    "average_pool": (
        "mean avg_pool1d avg_pool2d avg_pool3d "
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
    ),
    "resize": "interpolate upsample",
    "same_values": (
        "max_pool1d max_pool2d max_pool3d flatten unflatten view view_as reshape reshape_as "
        "squeeze unsqueeze "
        "contiguous clone dropout dropout2d dropout3d permute transpose t detach stochastic_depth "
        "chunk split tensor_split unbind"
    ),
    "select": (
        "getitem pad pixel_shuffle pixel_unshuffle channel_shuffle narrow select flip roll "
        "adaptive_max_pool2d amax expand expand_as broadcast_to repeat tile"
    ),
    "normalisation": "layer_norm group_norm instance_norm batch_norm rms_norm normalize",
    "shape": "size dim getattr floordiv numel",
}
_VANISHING = frozenset(
    {
        *("dropout", "dropout1d", "dropout2d", "dropout3d", "stochastic_depth"),
        *("contiguous", "clone", "detach"),
    }
)
_VANISHING_MODULES = (
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
)
_CONVERSIONS = frozenset({"to", "type", "type_as", "float", "half", "double", "bfloat16"})
_SHAPED_LIKE = frozenset({"expand_as", "reshape_as", "view_as"})
_FUNCTION_KINDS: dict[str, Kind] = {
    name: kind for kind, names in _NAMES_OF_KIND.items() for name in names.split()
}


def kind_of(node: fx.Node, graph_module: fx.GraphModule) -> Kind:
    """What a node does to its tensor; ``float`` is everything that no integer kernel is known for.

    Example:
        >>> graph_module = fx.symbolic_trace(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()))
        >>> [kind_of(node, graph_module) for node in graph_module.graph.nodes]
        ['input', 'conv', 'activation', 'output']
    """
    if node.op == "placeholder":
        return "input"
    if node.op == "output":
        return "output"
    if node.op == "call_module":
        module = graph_module.get_submodule(str(node.target))
        if is_unchanged(node):
            return "same_values"
        if isinstance(module, _ZERO_PADS):
            return _zero_pad_kind(node, module.padding, graph_module)
        return _module_kind(module)
    if node.op in {"call_function", "call_method"}:
        return _function_kind(node, graph_module)
    return "float"


def vanishes(node: fx.Node, graph_module: fx.GraphModule) -> bool:
    """Whether nothing of a node is left in an exported graph: dropouts, dropped paths, copies.

    Example:
        >>> graph_module = fx.symbolic_trace(nn.Sequential(nn.Dropout(), nn.Flatten()))
        >>> [vanishes(node, graph_module) for node in graph_module.graph.nodes]
        [False, True, False, False]
    """
    if kind_of(node, graph_module) != "same_values":
        return False
    if node.op != "call_module":
        return _name_of(node) in _VANISHING | _CONVERSIONS
    module = graph_module.get_submodule(str(node.target))
    dropped = isinstance(module, _VANISHING_MODULES) or type(module).__name__ in DROPS_PATHS
    return dropped or is_unchanged(node) or _is_unchanging(module)


def operands(node: fx.Node) -> list[fx.Node]:
    """The tensors whose values a node reads, each once; those of a concatenation are in a list."""
    first = node.args[0] if node.args else next(iter(node.kwargs.values()), None)
    listed = list(first) if isinstance(first, list | tuple) else list(node.args)
    if node.op in {"call_function", "call_method"} and _name_of(node) in _SHAPED_LIKE:
        listed = [first]  # of the other one it takes the shape
    return list(dict.fromkeys(value for value in listed if isinstance(value, fx.Node)))


def _module_kind(module: nn.Module) -> Kind:
    if isinstance(module, QuantizedLayer):
        return _module_kind(module.layer)
    if type(module).__name__ in DROPS_PATHS or _is_unchanging(module):
        return "same_values"
    written = parametrize.type_before_parametrizations(module)  # a pruning mask changes the type
    kind: Kind = next((kind for types, kind in _MODULE_KINDS if written in types), "float")
    if kind == "resize" and getattr(module, "mode", "bilinear") == "nearest":
        return "select"
    return _clipped_kind(kind, getattr(module, "min_val", None), getattr(module, "max_val", None))


def _is_unchanging(module: nn.Module) -> bool:
    return getattr(type(module), "unchanged_in_evaluation", False)


def _clipped_kind(kind: Kind, low: object, high: object) -> Kind:
    """A clip from 0 is a ReLU with a roof, which an integer layer does for nothing."""
    return "activation" if kind == "nonlinear" and low == 0 and high is not None else kind


def _function_kind(node: fx.Node, graph_module: fx.GraphModule) -> Kind:
    name = _name_of(node)
    kind = _FUNCTION_KINDS.get(name, "float")
    if name in _CONVERSIONS:
        return "same_values" if _keeps_type(node) else "float"
    if kind in {"add", "multiply"} and not _joins_two_tensors(node, graph_module):
        return "float"
    if name == "mean" and not _is_spatial_mean(node):
        return "float"
    if name == "getitem" and not _takes_part_of_tensor(node, graph_module):
        return "shape"
    if name == "pad":
        return _pad_kind(node, graph_module)
    if name in {"clamp", "clamp_", "clip", "hardtanh", "hardtanh_"}:
        ends = ("min_val", "max_val") if name.startswith("hardtanh") else ("min", "max")
        low, high = (_argument(node, 1 + index, end) for index, end in enumerate(ends))
        return _clipped_kind(kind, low, high)
    if kind == "resize" and _argument(node, 3, "mode") in {None, "nearest"}:
        return "select"
    return kind


def _name_of(node: fx.Node) -> str:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.strip("_") if name.startswith("__") else name


def _keeps_type(node: fx.Node) -> bool:
    """Whether a conversion found the type that it converts to."""
    source = node.args[0] if node.args else None
    before = result_of(source) if isinstance(source, fx.Node) else None
    after = result_of(node)
    return before is not None and after is not None and before.dtype == after.dtype


def _argument(node: fx.Node, index: int, name: str) -> object:
    return node.args[index] if len(node.args) > index else node.kwargs.get(name)


def _joins_two_tensors(node: fx.Node, graph_module: fx.GraphModule) -> bool:
    found = [a for a in node.args if isinstance(a, fx.Node) and a.op != "get_attr"]
    shapes = any(kind_of(value, graph_module) == "shape" for value in found)
    return len(node.args) == 2 and len(found) == 2 and not node.kwargs and not shapes


def _is_spatial_mean(node: fx.Node) -> bool:
    dims = _argument(node, 1, "dim")
    return isinstance(dims, list | tuple) and sorted(int(str(d)) for d in dims) in (
        [-2, -1],
        [2, 3],
    )


def _takes_part_of_tensor(node: fx.Node, graph_module: fx.GraphModule) -> bool:
    source = node.args[0]
    return isinstance(source, fx.Node) and kind_of(source, graph_module) != "shape"


def _pad_kind(node: fx.Node, graph_module: fx.GraphModule) -> Kind:
    """Zeros are on every grid; another constant is not."""
    mode, value = _argument(node, 2, "mode"), _argument(node, 3, "value")
    if mode not in {None, "constant"}:
        return "select"
    if value not in {None, 0}:
        return "float"
    return _zero_pad_kind(node, _argument(node, 1, "pad"), graph_module)


def _zero_pad_kind(node: fx.Node, widths: object, graph_module: fx.GraphModule) -> Kind:
    """Zeros around an image become padding of the convolutions that read it, and cost nothing."""
    widens = isinstance(widths, list | tuple) and all(isinstance(w, int) and w >= 0 for w in widths)
    for user in node.users:
        layer = graph_module.get_submodule(str(user.target)) if user.op == "call_module" else None
        layer = layer.layer if isinstance(layer, QuantizedLayer) else layer
        if not widens or not isinstance(layer, _CONVOLUTIONS):
            return "select"
        if len(widths) > 2 * len(layer.kernel_size):  # type: ignore[arg-type]
            return "select"
    return "same_values"
