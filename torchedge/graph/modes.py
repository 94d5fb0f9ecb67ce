"""Functions whose effect depends on the mode, as modules that know it.

A trace is of evaluation: ``F.dropout(x, 0.5, self.training)`` has become a call with
``training=False``, which would stay so in training.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchedge.graph.editing import arguments_of, call_instead, free_path
from torchedge.graph.values import result_of

__all__ = ["modules_for_modes"]

_DROPOUTS: Mapping[Callable[..., Any], type[nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
    F.alpha_dropout: nn.AlphaDropout,
    F.feature_alpha_dropout: nn.FeatureAlphaDropout,
}
_DROPOUT_NAMES = ("input", "p", "training")
_NORM_NAMES = (
    *("input", "running_mean", "running_var", "weight", "bias"),
    *("training", "momentum", "eps"),
)
_NORMS: Mapping[int, type[nn.Module]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


def modules_for_modes(graph_module: fx.GraphModule, model: nn.Module) -> None:
    """Exchange, in place, dropouts and batch norms that are function calls for modules.

    A batch norm takes the place, the parameters and the statistics of the module that called the
    function, so that it folds like any other; what that module does besides, such as an activation,
    is in the graph. A dropout that is on in evaluation too stays a function.

    Args:
        graph_module: A graph of ``model``.
        model: Its modules say in which mode they are, and how fast their statistics move.

    Example:
        >>> class Block(nn.Module):
        ...     def forward(self, x):
        ...         return F.dropout(x, 0.1, self.training)
        >>> block = Block().eval()
        >>> graph_module = fx.symbolic_trace(block)
        >>> modules_for_modes(graph_module, block)
        >>> graph_module.functional_dropout
        Dropout(p=0.1, inplace=False)
    """
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _DROPOUTS:
            _exchange_dropout(node, graph_module)
        elif node.target is F.batch_norm:
            _exchange_norm(node, graph_module, model)


def _exchange_dropout(node: fx.Node, graph_module: fx.GraphModule) -> None:
    arguments = arguments_of(node, _DROPOUT_NAMES)
    if arguments.get("training", True):
        return
    path = free_path(f"functional_{node.name}", graph_module)
    dropout = _DROPOUTS[node.target](arguments.get("p", 0.5))  # type: ignore[index]
    graph_module.add_submodule(path, dropout.train(graph_module.training))
    call_instead(node, path, graph_module)


def _exchange_norm(node: fx.Node, graph_module: fx.GraphModule, model: nn.Module) -> None:
    arguments = arguments_of(node, _NORM_NAMES)
    result = result_of(node)
    mean = arguments.get("running_mean")
    if arguments.get("training", False) or result is None or not isinstance(mean, fx.Node):
        return
    path = str(mean.target).rpartition(".")[0]
    owner = model.get_submodule(path)
    tensors = {name: _tensor(arguments.get(name), path, owner) for name in _NORM_NAMES[1:5]}
    if tensors["running_mean"] is None or tensors["running_var"] is None:
        return
    norm = _norm(_NORMS[len(result.shape)], tensors, arguments, owner)
    call_instead(node, _placed(norm, path, graph_module), graph_module)


def _tensor(value: object, path: str, owner: nn.Module) -> Tensor | None:
    """A parameter or buffer of the module that keeps the statistics."""
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return None
    home, _, name = str(value.target).rpartition(".")
    found = getattr(owner, name, None) if home == path else None
    return found if isinstance(found, Tensor) else None


def _norm(
    kind: type[nn.Module],
    tensors: Mapping[str, Tensor | None],
    arguments: Mapping[str, Any],
    owner: nn.Module,
) -> nn.Module:
    mean, weight, bias = (tensors[name] for name in ("running_mean", "weight", "bias"))
    assert mean is not None
    momentum = owner.momentum if isinstance(owner, _BatchNorm) else arguments.get("momentum", 0.1)
    norm = kind(
        len(mean),
        eps=arguments.get("eps", 1e-5),
        momentum=momentum,
        affine=weight is not None,
        device="meta",
    )
    assert isinstance(norm, _BatchNorm)
    norm.running_mean, norm.running_var = mean, tensors["running_var"]
    counted = getattr(owner, "num_batches_tracked", None)
    norm.num_batches_tracked = torch.zeros((), dtype=torch.long) if counted is None else counted
    if weight is not None:
        norm.weight = _parameter(weight)
        norm.bias = _parameter(mean.new_zeros(len(mean)) if bias is None else bias)
    return norm.train(owner.training)


def _parameter(tensor: Tensor) -> nn.Parameter:
    if isinstance(tensor, nn.Parameter):
        return tensor
    return nn.Parameter(tensor, requires_grad=False)  # a buffer that nothing trains


def _placed(norm: nn.Module, owner: str, graph_module: fx.GraphModule) -> str:
    """Put the norm where its parameters were, unless the graph needs what else is there."""
    prefix = f"{owner}."
    inside = any(
        node.op == "call_module" and str(node.target).startswith(prefix)
        for node in graph_module.graph.nodes
    )
    path = free_path(f"{owner}.norm", graph_module) if inside or not owner else owner
    if path == owner:
        graph_module.set_submodule(path, norm)
    else:
        graph_module.add_submodule(path, norm)
    return path
