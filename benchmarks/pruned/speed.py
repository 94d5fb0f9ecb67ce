"""How much faster half of the multiply-accumulates is, in ONNX Runtime at batch 1."""

import copy
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.coverage import network
from benchmarks.peers.measure import interleaved
from benchmarks.peers.torch_pruning import pruned_by_torch_pruning
from benchmarks.pruned.coverage import flops, onnx_model
from torchedge.bench.session import Session
from torchedge.pruning import Limits, prune_to
from torchedge_onnx.session import open_model, session_options
from torchedge_onnx.timing import OnnxLayerTimer

__all__ = ["speed"]

_SIZE = 224
_ROUNDS = 40
_SHARE = 0.5
_Way = Callable[[nn.Module, Tensor, int], nn.Module]


def _by_time(model: nn.Module, image: Tensor, threads: int) -> nn.Module:
    return prune_to(
        model,
        (image,),
        macs=_SHARE,
        timer=OnnxLayerTimer(threads=threads),
        limits=Limits(multiple=16),
    )


def _by_score(model: nn.Module, image: Tensor, threads: int) -> nn.Module:
    return prune_to(model, (image,), macs=_SHARE)


def _by_peer(round_to: int | None) -> _Way:
    def prune(model: nn.Module, image: Tensor, threads: int) -> nn.Module:
        return pruned_by_torch_pruning(model, image, _SHARE, round_to=round_to, cost=flops)

    return prune


_WAYS: Mapping[str, _Way] = {
    "torchedge by layer times": _by_time,
    "torchedge by scores": _by_score,
    "Torch-Pruning": _by_peer(None),
    "Torch-Pruning round_to=8": _by_peer(8),
    "Torch-Pruning round_to=16": _by_peer(16),
}


def speed(names: Sequence[str], threads: int) -> Mapping[str, Mapping[str, float]]:
    """Speed-ups over the unpruned network, all contestants taking turns."""
    rows: dict[str, Mapping[str, float]] = {}
    for name in names or ("resnet18", "mobilenet_v2"):
        rows |= _timed(name, threads)
    return rows


def _timed(name: str, threads: int) -> Mapping[str, Mapping[str, float]]:
    torch.manual_seed(0)
    model = network(name).eval()
    image = torch.randn(1, 3, _SIZE, _SIZE)
    networks, seconds = {"unpruned": model}, {"unpruned": 0.0}
    for way, prune in _WAYS.items():
        begin = time.process_time()
        networks[way] = prune(copy.deepcopy(model), image, threads)
        seconds[way] = time.process_time() - begin
    sessions = {way: _session(pruned, image, threads) for way, pruned in networks.items()}
    array = image.numpy()
    calls = {way: (lambda run=run: run(array)) for way, run in sessions.items()}
    times = interleaved(calls, rounds=_ROUNDS, warm_ups=5)
    whole = flops(model, image)
    return {
        f"{name}, {way}": {
            "macs": flops(networks[way], image) / whole,
            "speed_up": 1 / timing.ratio,
            **asdict(timing),
            "prune_seconds": seconds[way],
        }
        for way, timing in times.items()
    }


def _session(model: nn.Module, image: Tensor, threads: int) -> Session:
    options = session_options()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        session = open_model(onnx_model(model, image, Path(folder)), options)
    session(np.zeros(tuple(image.shape), np.float32))
    return session
