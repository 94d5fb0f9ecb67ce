"""What the first batch norm of a network expects, and what it would get from some data."""

from typing import Any, final

from torch import Tensor, nn

from torchedge.errors import CalibrationError
from torchedge.graph.copies import copied
from torchedge.quantization.diagnostics.interpreter import switch
from torchedge.quantization.layers import apply_layer, masked_parameters
from torchedge.quantization.modules import BatchNorm, QuantizedLayer

__all__ = ["FirstNorm"]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Reached(Exception):  # noqa: N818
    """The first batch norm is reached; the rest of the network need not run."""


@final
class FirstNorm:
    """Mean and spread of the values that come to the first batch norm, channel by channel.

    They are a function of the data and of untouched weights, so they tell whether the data are
    scaled and shifted as in training.

    Args:
        model: A prepared or float network; it is copied.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = copied(model).eval()
        switch(self._model, enabled=False)
        self.norm: BatchNorm | None = None
        self._values = 0
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None
        self._batches = 0
        for module in self._model.modules():
            if isinstance(module, QuantizedLayer) and module.batchnorm is not None:
                module.register_forward_pre_hook(self._take_folded)
            elif isinstance(module, _NORMS) and module.running_mean is not None:
                module.register_forward_pre_hook(self._take)

    def _take(self, norm: BatchNorm, inputs: Any) -> None:  # noqa: ANN401
        self._count(norm, inputs[0])

    def _take_folded(self, layer: QuantizedLayer, inputs: Any) -> None:  # noqa: ANN401
        assert layer.batchnorm is not None
        y = apply_layer(layer.layer, inputs[0], *masked_parameters(layer.layer))
        self._count(layer.batchnorm, y)

    def _count(self, norm: BatchNorm, x: Tensor) -> None:
        self.norm = norm
        by_channel = x.movedim(1, 0).flatten(1).double()
        total, squares = by_channel.sum(1), by_channel.square().sum(1)
        self._sum = total if self._sum is None else self._sum + total
        self._squares = squares if self._squares is None else self._squares + squares
        self._values += by_channel.shape[1]
        raise _Reached

    def add(self, batch: Tensor) -> None:
        """Run a batch as far as the first batch norm.

        Raises:
            CalibrationError: The batch does not fit the model.
        """
        try:
            self._model(batch)
        except _Reached:
            pass
        except (RuntimeError, IndexError, ValueError) as error:
            raise CalibrationError(
                f"batch {self._batches} of shape {tuple(batch.shape)} does not fit the model: "
                f"{str(error).splitlines()[0]}"
            ) from error
        self._batches += 1

    def deviation(self) -> tuple[float, float] | None:
        """Median over channels of the mean's distance, in deviations, and of the ratio of spreads.

        ``|mean - μ| / σ`` and ``std / σ``; ``None`` where no batch norm with statistics is.
        """
        if self.norm is None or self._sum is None or self._squares is None:
            return None
        if self.norm.running_mean is None or not self.norm.num_batches_tracked:
            return None
        mean = self._sum / self._values
        spread = (self._squares / self._values - mean.square()).clamp(min=0).sqrt()
        assert self.norm.running_var is not None
        sigma = (self.norm.running_var + self.norm.eps).double().sqrt()
        distance = (mean - self.norm.running_mean).abs() / sigma
        return float(distance.median()), float((spread / sigma).median())
