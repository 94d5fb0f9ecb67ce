"""Quantisation-aware training by torchao (PT2E) and by PyTorch itself (FX), one step at a time."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.packages import package, quiet

__all__ = ["prepared_fx", "prepared_pt2e", "training_step"]


def training_step(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """One step of SGD with momentum on the same batch, ready to be timed."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


@quiet()
def prepared_pt2e(network: nn.Module, images: Tensor) -> nn.Module:
    """A copy with torchao's fake quantisers, as its quantiser for x86 places them; in train mode.

    Raises:
        MissingDependencyError: torchao is not installed.
    """
    pt2e = package("torchao.quantization.pt2e")
    prepare = package("torchao.quantization.pt2e.quantize_pt2e").prepare_qat_pt2e
    x86 = package("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_qat=True))
    network = copy.deepcopy(network).train()
    program = torch.export.export(network, (images,), strict=False)
    prepared: nn.Module = prepare(program.module(), quantizer)
    pt2e.move_exported_model_to_train(prepared)
    return prepared


@quiet()
def prepared_fx(network: nn.Module, images: Tensor) -> nn.Module:
    """A copy with the fake quantisers of ``torch.ao``, placed by its FX mode; in train mode.

    Raises:
        MissingDependencyError: This PyTorch no longer has them.
    """
    mapping = package("torch.ao.quantization").get_default_qat_qconfig_mapping("x86")
    prepare = package("torch.ao.quantization.quantize_fx").prepare_qat_fx
    prepared: nn.Module = prepare(copy.deepcopy(network).train(), mapping, (images,))
    return prepared
