"""The last layer solved anew for what it gets to read in the quantised network."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, fx, nn

from torchedge.errors import CalibrationError, SchemeError
from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked
from torchedge.quantization.batches import input_batches
from torchedge.quantization.batchnorm_folding import fold_batchnorms
from torchedge.quantization.modules import QuantizedLayer
from torchedge.quantization.operations import kind_of
from torchedge.quantization.recovery.reconstruction import Reconstruction
from torchedge.quantization.recovery.rounding import round_layer

__all__ = ["refit_last_layer"]


@final
@dataclass(frozen=True, kw_only=True)
class _Moments:
    """Sums over all rows so far: ``x`` is what the layer reads, ``y`` what is wanted."""

    count: int
    x: Tensor
    y: Tensor
    xx: Tensor
    yx: Tensor

    def plus(self, x: Tensor, y: Tensor) -> "_Moments":
        x, y = x.double(), y.double()
        return _Moments(
            count=self.count + len(x),
            x=self.x + x.sum(0),
            y=self.y + y.sum(0),
            xx=self.xx + x.T @ x,
            yx=self.yx + y.T @ x,
        )

    def centred(self) -> tuple[Tensor, Tensor]:
        """Covariance of ``x``, and of ``y`` with ``x``."""
        covariance = self.xx / self.count - torch.outer(self.x, self.x) / self.count**2
        return covariance, self.yx / self.count - torch.outer(self.y, self.x) / self.count**2


@kinds_checked()
def refit_last_layer(
    model: nn.Module,
    reference: nn.Module,
    batches: object,
    *,
    ridge: float = 0.01,
) -> nn.Module:
    """A copy of ``model`` whose last linear layer answers as ``reference`` does, in least squares.

    What a quantised network hands to its last layer is the float features and noise. On the data it
    is used for, features fill few of their dimensions and the noise fills all: the weight that
    minimises ``E‖y_float - W x_quantised - b‖² + λ‖W - W_now‖²`` takes less of what is only noise.
    It is found in closed form, from sums that take the same memory for any number of samples, and
    rounded to its grid for the output, unless the layer was left in float. Weights that are 0 stay
    0.

    Answers come nearer where they are decided, the largest outputs, and can get further away for
    outputs that are never large: look at the agreement and not at the error of all outputs. Take
    two samples or more for each input of the layer.

    Args:
        model: From ``quantize``, or ``prepare_qat`` and ``calibrate``; ends with a linear layer.
        reference: The float network.
        batches: Inputs as the network sees them in use, unlabelled; read once, one at a time.
        ridge: ``λ``, in units of the mean variance of the layer's inputs.

    Raises:
        CalibrationError: There are not even two samples.
        SchemeError: The network does not end with a quantised linear layer, its weights have zero
            points, or the ridge is not above 0.

    Example:
        >>> from torchedge.quantization import QuantScheme
        >>> from torchedge.quantization.recovery import quantize
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
        >>> x = torch.randn(256, 8)
        >>> model = refit_last_layer(quantize(net, QuantScheme(), [x]), net, x.split(64))
        >>> bool((model(x) - net(x)).abs().max() < 0.05)
        True
    """
    if not ridge > 0:
        raise SchemeError(f"the ridge is {ridge}; give a number above 0, for example 0.01.")
    refitted = fold_batchnorms(copied(model).eval())
    layer = _last_layer(refitted)
    moments = _moments(refitted, layer, copied(reference).eval(), batches)
    _solve(layer, moments, ridge)
    return refitted.train(model.training)


def _last_layer(model: nn.Module) -> QuantizedLayer:
    """The linear layer whose result, perhaps put on a grid, the network returns."""
    if isinstance(model, fx.GraphModule):
        node = next(iter(reversed(model.graph.nodes))).args[0]
        while isinstance(node, fx.Node) and kind_of(node, model) in {"quantizer", "same_values"}:
            node = node.all_input_nodes[0]
        called = isinstance(node, fx.Node) and node.op == "call_module"
        module = model.get_submodule(str(node.target)) if called else None
        if isinstance(module, QuantizedLayer) and isinstance(module.layer, nn.Linear):
            return module
    raise SchemeError(
        "the network does not end with a quantised linear layer, so there is none to solve anew; "
        "use round_adaptively or self_distillation."
    )


@torch.no_grad()
def _moments(
    model: nn.Module, layer: QuantizedLayer, reference: nn.Module, batches: object
) -> _Moments:
    weight = layer.layer.weight
    outputs, inputs = weight.shape
    read: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, x: read.append(x[0]))
    zeros = weight.new_zeros
    moments = _Moments(
        count=0,
        x=zeros(inputs, dtype=torch.float64),
        y=zeros(outputs, dtype=torch.float64),
        xx=zeros(inputs, inputs, dtype=torch.float64),
        yx=zeros(outputs, inputs, dtype=torch.float64),
    )
    try:
        for batch in input_batches(model, batches):
            model(*batch)
            wanted = reference(*batch)
            moments = moments.plus(read.pop().flatten(0, -2), wanted.flatten(0, -2))
    finally:
        handle.remove()
    if moments.count < 2:
        raise CalibrationError(
            f"there are {moments.count} samples to fit the last layer to; give some "
            f"{2 * inputs:,}, two for each of its {inputs:,} inputs."
        )
    return moments


@torch.no_grad()
def _solve(layer: QuantizedLayer, moments: _Moments, ridge: float) -> None:
    """Set, in place, weight, scale and bias."""
    linear = layer.layer
    assert linear.bias is not None  # batch norms were merged, which gives every layer one
    now = layer.on_grid(linear.weight).double()
    covariance, cross = moments.centred()
    unit = covariance.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
    ridged = covariance + ridge * unit * torch.eye(len(covariance), dtype=torch.float64)
    change = torch.linalg.solve(ridged, (cross - now @ covariance).T).T
    solved = (now + change * (now != 0)).to(linear.weight.dtype)
    linear.weight.copy_(solved)
    if not layer.excluded:
        _round(layer, ridged.to(solved.dtype))
    mean_x, mean_y = moments.x / moments.count, moments.y / moments.count
    linear.bias.copy_(mean_y - linear.weight.double() @ mean_x)


def _round(layer: QuantizedLayer, second_moments: Tensor) -> None:
    """Put, in place, the weights on a grid of their own, for the least error of the output."""
    weight = layer.layer.weight
    layer.weight_scale = None  # the one in use belongs to the weights of before
    target = Reconstruction(
        moments=second_moments[None],
        cross=torch.zeros_like(weight)[None],
        rest=weight.new_zeros(1, len(weight)),
    )
    round_layer(layer, target, name="the last layer")
