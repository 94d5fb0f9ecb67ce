"""Ranges that are the same on every process of a distributed training."""

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["range_over_processes"]


def range_over_processes(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest ``low`` and the largest ``high`` of all processes; alone, the two themselves.

    One ``all_reduce``, so that every process has to call it, as with ``nn.SyncBatchNorm``.

    Example:
        >>> range_over_processes(torch.tensor(-1.0), torch.tensor(2.0))
        (tensor(-1.), tensor(2.))
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return low, high
    widest = torch.stack([-low, high])
    dist.all_reduce(widest, op=dist.ReduceOp.MAX)
    return -widest[0], widest[1]
