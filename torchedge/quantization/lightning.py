"""When fake quantisation, observers and batch-norm statistics are on, by epoch."""

from typing import final

import pytorch_lightning as pl
from typing_extensions import override

from torchedge.errors import SchemeError, UsageError
from torchedge.kinds import kinds_checked
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer

__all__ = ["QuantizationAwareTraining"]


@final
class QuantizationAwareTraining(pl.Callback):
    """Says when quantisation starts, and when ranges and batch norm stop moving.

    The structure is changed before ``fit`` by ``prepare_qat``; this callback only sets switches,
    from the epoch alone, so a resumed run goes on as if it had never stopped.

    Args:
        quantize_from_epoch: First epoch with fake quantisation; observers run before it too.
        freeze_ranges_from_epoch: First epoch in which activation ranges stay as they are.
        freeze_batchnorm_from_epoch: First epoch that normalises with the running statistics.

    Raises:
        UsageError: An epoch is negative.
        SchemeError: At the start of training: the module holds no quantised layer.
        CalibrationError: Ranges are to freeze before anything was observed.

    Example:
        >>> QuantizationAwareTraining(freeze_ranges_from_epoch=1, freeze_batchnorm_from_epoch=2)
        ... # doctest: +ELLIPSIS
        <torchedge.quantization.lightning.QuantizationAwareTraining object at ...>
    """

    @kinds_checked()
    def __init__(
        self,
        *,
        quantize_from_epoch: int = 0,
        freeze_ranges_from_epoch: int,
        freeze_batchnorm_from_epoch: int,
    ) -> None:
        epochs = (quantize_from_epoch, freeze_ranges_from_epoch, freeze_batchnorm_from_epoch)
        if min(epochs) < 0:
            raise UsageError(f"epochs {epochs} hold a negative number; count them from 0.")
        self.quantize_from_epoch = quantize_from_epoch
        self.freeze_ranges_from_epoch = freeze_ranges_from_epoch
        self.freeze_batchnorm_from_epoch = freeze_batchnorm_from_epoch

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._set_switches(pl_module, trainer.current_epoch)

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._set_switches(pl_module, trainer.current_epoch)

    def _set_switches(self, pl_module: pl.LightningModule, epoch: int) -> None:
        layers = [m for m in pl_module.modules() if isinstance(m, QuantizedLayer)]
        if not layers:
            raise SchemeError(
                "the LightningModule holds no quantised layer; call prepare_qat before fit."
            )
        for layer in layers:
            layer.enabled = epoch >= self.quantize_from_epoch and not layer.excluded
            layer.batchnorm_frozen = epoch >= self.freeze_batchnorm_from_epoch
        for name, module in pl_module.named_modules():
            if isinstance(module, FakeQuantize):
                self._switch_quantizer(name, module, epoch)

    def _switch_quantizer(self, name: str, quantizer: FakeQuantize, epoch: int) -> None:
        if quantizer.excluded:
            return
        quantizer.enabled = epoch >= self.quantize_from_epoch
        quantizer.observing = epoch < self.freeze_ranges_from_epoch
        if not quantizer.observing:
            quantizer.require_calibrated(name)
