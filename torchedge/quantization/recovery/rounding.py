"""Weights rounded up or down so that a layer's output, not the weight, comes out right."""

import math

import torch
from torch import Tensor, nn

from torchedge.errors import SchemeError
from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked
from torchedge.quantization.batchnorm_folding import fold_batchnorms
from torchedge.quantization.functional import dequantize
from torchedge.quantization.modules import QuantizedLayer
from torchedge.quantization.recovery.bias_correction import correct_step
from torchedge.quantization.recovery.layerwise import LayerStep, in_float, kept_batches, layer_steps
from torchedge.quantization.recovery.patches import as_matrix, from_matrix
from torchedge.quantization.recovery.reconstruction import Reconstruction, reconstruction

__all__ = ["round_adaptively", "round_layer", "round_step"]

# The rectified sigmoid's stretch (Louizos et al. 2018; Nagel et al. 2020, equation 23).
_LOW, _HIGH = -0.1, 1.1
_BETA_FROM, _BETA_TO = 20.0, 2.0
_FREE_SHARE = 0.2
_PUSH = 30.0
_SWEEPS, _RUN = 4, 32
_RATE, _DECAYS, _EPSILON = 0.05, (0.9, 0.99), 1e-8


@kinds_checked()
def round_adaptively(
    model: nn.Module,
    batches: object,
    *,
    reference: nn.Module | None = None,
    iterations: int = 200,
    seed: int = 0,
) -> nn.Module:
    """A copy of ``model`` with each weight rounded up or down for its layer's output (AdaRound).

    Layer by layer, with the inputs that the quantised layers before produce and the float output
    as the target, ``E‖W x_float - s·(⌊W/s⌋ + h(V)) x‖² + λ Σ (1 - |2h(V) - 1|^β)`` is minimised
    over ``V`` with Adam, ``h`` the rectified sigmoid and β annealed from 20 to 2 (Nagel et al.
    2020, equations 21 to 25). The first term is computed from second moments of the inputs, so a
    step costs a matrix product and no convolution. An output channel keeps round-to-nearest where
    that is better. Then its bias is corrected. The result has on-grid weights and their scales
    fixed, so that freezing yields exactly these integers. Weights that are 0 stay 0.

    Args:
        model: A calibrated model from ``prepare_qat``.
        batches: Inputs as the network sees them in use, unlabelled; all are held in memory.
        reference: The float network, as a prepared model of the same graph; by default ``model``
            with its quantisers off.
        iterations: Steps of Adam a layer.
        seed: Of the choice of positions in images.

    Raises:
        CalibrationError: There is no batch.
        SchemeError: A model does not come from ``prepare_qat``, the graphs differ, or weights have
            zero points.

    Example:
        >>> from torchedge.quantization import QuantScheme, calibrate, minmax, prepare_qat
        >>> x = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
        >>> prepared = prepare_qat(nn.Sequential(nn.Linear(8, 2)), QuantScheme(), (x,))
        >>> model = calibrate(prepared, [x], minmax)
        >>> rounded = round_adaptively(model, [x])
        >>> layer = rounded.get_submodule("0")
        >>> torch.equal(layer.on_grid(layer.layer.weight), layer.layer.weight)
        True
    """
    rounded = fold_batchnorms(copied(model).eval())
    baseline = in_float(model if reference is None else reference)
    generator = torch.Generator().manual_seed(seed)
    for step in layer_steps(rounded, baseline, kept_batches(rounded, batches)):
        round_step(step, reconstruction(step, generator), iterations=iterations)
        correct_step(step)
    return rounded.train(model.training)


@torch.no_grad()
def round_step(step: LayerStep, target: Reconstruction, *, iterations: int) -> None:
    """Round, in place, the weight of the layer that the walk has reached."""
    if step.layer.enabled:  # or left in float on purpose
        round_layer(step.layer, target, name=step.name, iterations=iterations)


@torch.no_grad()
def round_layer(
    quantized: QuantizedLayer,
    target: Reconstruction,
    *,
    name: str = "the layer",
    iterations: int = 0,
) -> None:
    """Round, in place, the weight of a layer for the least error of its output.

    Raises:
        SchemeError: The weight has zero points.
    """
    if not quantized.spec.symmetric:
        raise SchemeError(
            f"'{name}' has weights with zero points ({quantized.spec}); adaptive rounding "
            "needs a symmetric grid for weights."
        )
    weight = quantized.layer.weight.detach()
    scale, _ = quantized.params(weight)
    matrix = _rounded_matrix(quantized, weight, scale, target, iterations)
    quantized.layer.weight.copy_(from_matrix(matrix, quantized.layer))
    quantized.weight_scale = scale.detach().clone()


def _rounded_matrix(
    quantized: QuantizedLayer,
    weight: Tensor,
    scale: Tensor,
    target: Reconstruction,
    iterations: int,
) -> Tensor:
    spec, layer = quantized.spec, quantized.layer
    ones = torch.ones_like(weight, dtype=torch.int32)
    steps = as_matrix(
        dequantize(ones, scale, torch.zeros_like(scale, dtype=torch.int32), spec), layer
    )
    exact = as_matrix(weight, layer)
    floor = torch.floor(exact / steps).clamp(spec.quant_min, spec.quant_max - 1)
    nearest = as_matrix(quantized.on_grid(weight), layer)
    up = _learned_rounding(exact, floor, steps, target, iterations)
    up = _turned_while_better(exact, floor, steps, target, up)
    learned = (floor + up) * steps * (exact != 0)
    better = target.errors(learned - exact) < target.errors(nearest - exact)
    return torch.where(better[..., None], learned, nearest)


def _learned_rounding(
    exact: Tensor, floor: Tensor, steps: Tensor, target: Reconstruction, iterations: int
) -> Tensor:
    """For each weight 1 to round up and 0 to round down, by Adam on the relaxed problem."""
    kept = exact != 0
    fraction = (exact / steps - floor).clamp(0.01, 0.99)
    logits = torch.logit((fraction - _LOW) / (_HIGH - _LOW))
    mean, square = torch.zeros_like(logits), torch.zeros_like(logits)
    nearest = (floor + fraction.round()) * steps * kept - exact
    unit = target.errors(nearest).clamp(min=1e-20)[..., None]
    for iteration in range(iterations):
        sigmoid = torch.sigmoid(logits)
        up = (sigmoid * (_HIGH - _LOW) + _LOW).clamp(0, 1)
        gradient = target.gradient(((floor + up) * steps - exact) * kept) * steps / unit
        gradient += _push_to_ends(up, iteration / iterations)
        inside = (up > 0) & (up < 1)
        gradient *= inside * kept * (_HIGH - _LOW) * sigmoid * (1 - sigmoid)
        mean.lerp_(gradient, 1 - _DECAYS[0])
        square.lerp_(gradient.square(), 1 - _DECAYS[1])
        unbiased = [1 - decay ** (iteration + 1) for decay in _DECAYS]
        root = (square / unbiased[1]).sqrt_().add_(_EPSILON)
        logits -= _RATE * (mean / unbiased[0]) / root
    return (torch.sigmoid(logits) * (_HIGH - _LOW) + _LOW > 0.5).to(exact.dtype)


def _turned_while_better(
    exact: Tensor, floor: Tensor, steps: Tensor, target: Reconstruction, up: Tensor
) -> Tensor:
    """One weight after another rounded the other way where that makes the error smaller.

    Turning weight ``i`` by ``δ`` changes the error by ``2 δ g_i + δ² H_ii``, ``g = D·H - c``. The
    gradient is kept up to date within a run of weights, and for all others once after the run.
    """
    up, movable, moments = up.clone(), steps * (exact != 0), target.moments
    half_gradient = target.gradient((floor * steps - exact) * (exact != 0) + up * movable) / 2
    for _ in range(_SWEEPS):
        before = up.clone()
        for run in torch.arange(exact.shape[-1]).split(_RUN):
            here = slice(int(run[0]), int(run[-1]) + 1)
            start = up[..., here].clone()
            local = target.part(here)
            _turn_run(up[..., here], half_gradient[..., here], movable[..., here], local)
            turned = (up[..., here] - start) * movable[..., here]
            half_gradient += turned @ moments[:, here]
            if local.gain is not None and target.gain is not None:
                excess = (turned * local.gain.direction).sum(-1) * target.gain.weight
                half_gradient += excess[..., None] * target.gain.direction
        if torch.equal(before, up):
            break
    return up


def _turn_run(up: Tensor, half_gradient: Tensor, steps: Tensor, target: Reconstruction) -> None:
    """Turn, in place, the weights of one run."""
    local = half_gradient.clone()
    for i in range(up.shape[-1]):
        turn = (1 - 2 * up[..., i]) * steps[..., i]
        row = target.row(i)
        better = 2 * turn * local[..., i] + turn.square() * row[..., i] < 0
        up[..., i] = torch.where(better, 1 - up[..., i], up[..., i])
        local += (turn * better)[..., None] * row


def _push_to_ends(up: Tensor, progress: float) -> Tensor:
    """Gradient of ``λ / k · Σ (1 - |2h - 1|^β)``, off at first, β falling along a half cosine."""
    if progress < _FREE_SHARE:
        return torch.zeros_like(up)
    done = (progress - _FREE_SHARE) / (1 - _FREE_SHARE)
    beta = _BETA_TO + (_BETA_FROM - _BETA_TO) * (1 + math.cos(math.pi * done)) / 2
    off = 2 * up - 1
    return -2 * beta * _PUSH / up.shape[-1] * off.abs().pow(beta - 1) * off.sign()
