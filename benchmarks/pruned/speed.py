"""How much faster half of the multiply-accumulates is, in ONNX Runtime at batch 1.

Of most networks two ways are shown: what ``prune_to`` does without being told anything, beside
Torch-Pruning rounded to 8 and at its very cost, and half of the measured time of the layers.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.coverage import network, with_own_statistics
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
_IN_FULL = ("resnet18", "mobilenet_v2")
_IN_SHORT = ("mnasnet1_0", "efficientnet_b0", "regnet_x_400mf")
_OF_TIMM = ("darknet53", "selecsls42", "skresnet18", "res2net50_26w_4s")
_PEER = "Torch-Pruning round_to=8"
_ROUNDINGS: Mapping[str, int | None] = {
    "Torch-Pruning": None,
    "Torch-Pruning round_to=8": 8,
    "Torch-Pruning round_to=16": 16,
}


def speed(names: Sequence[str], threads: int) -> Mapping[str, Mapping[str, float]]:
    """Speed-ups over the unpruned network, all contestants taking turns."""
    rows: dict[str, Mapping[str, float]] = {}
    for name in names or (*_IN_FULL, *_IN_SHORT, *_OF_TIMM):
        rows |= _timed(name, threads)
    return rows


def _network(name: str, image: Tensor) -> nn.Module:
    if name in _OF_TIMM:
        import timm

        model: nn.Module = timm.create_model(name, pretrained=False)
    else:
        model = network(name)
    return with_own_statistics(model.eval(), torch.cat([image, image.flip(-1)]))


def _timed(name: str, threads: int) -> Mapping[str, Mapping[str, float]]:
    torch.manual_seed(0)
    image = torch.randn(1, 3, _SIZE, _SIZE)
    model = _network(name, image)
    seconds: dict[str, float] = {"unpruned": 0.0}
    networks = {"unpruned": model}
    ways = _pruned if name in _IN_FULL else _in_short
    for way, pruned, took in ways(model, image, threads):
        networks[way], seconds[way] = pruned, took
    calls = {way: _call(pruned, image, threads) for way, pruned in networks.items()}
    times = interleaved(calls, rounds=_ROUNDS, warm_ups=5)
    whole = flops(model, image)
    return {
        f"{name}, {way}": {
            "macs": flops(networks[way], image) / whole,
            "speed_up": 1 / timing.ratio,
            "fastest_speed_up": 1 / timing.fastest_ratio,
            "median_ms": timing.median_ms,
            "prune_seconds": seconds[way],
        }
        for way, timing in times.items()
    }


def _pruned(
    model: nn.Module, image: Tensor, threads: int
) -> Iterator[tuple[str, nn.Module, float]]:
    """Each contestant with its name and the processor time that it took to find it.

    The peer's ratios and roundings seldom meet a target; so ours is also pruned to what each of its
    networks costs.
    """
    begin = time.process_time()
    yield "torchedge", _ours(model, image, _SHARE, threads), time.process_time() - begin
    begin = time.process_time()
    by_scores = prune_to(model, (image,), macs=_SHARE)
    yield "torchedge without times", by_scores, time.process_time() - begin
    whole = flops(model, image)
    for way, round_to in _ROUNDINGS.items():
        begin = time.process_time()
        peer = pruned_by_torch_pruning(model, image, _SHARE, round_to=round_to, cost=flops)
        took = time.process_time() - begin
        yield way, peer, took
        begin = time.process_time()
        share = flops(peer, image) / whole
        ours = _ours(model, image, share, threads)
        yield f"torchedge, MACs of {way}", ours, time.process_time() - begin


def _in_short(
    model: nn.Module, image: Tensor, threads: int
) -> Iterator[tuple[str, nn.Module, float]]:
    """The default, the peer, the default at the peer's cost, and half of the layers' time."""
    begin = time.process_time()
    yield "torchedge", prune_to(model, (image,), macs=_SHARE), time.process_time() - begin
    begin = time.process_time()
    timer = OnnxLayerTimer(threads=threads)
    by_time = prune_to(model, (image,), latency=_SHARE, timer=timer)
    yield "torchedge latency=0.5", by_time, time.process_time() - begin
    begin = time.process_time()
    try:
        peer = pruned_by_torch_pruning(model, image, _SHARE, round_to=8, cost=flops)
        share = flops(peer, image) / flops(model, image)
    except Exception:  # whatever it is, there is nothing to compare with
        return
    yield _PEER, peer, time.process_time() - begin
    begin = time.process_time()
    ours = prune_to(model, (image,), macs=share)
    yield f"torchedge, MACs of {_PEER}", ours, time.process_time() - begin


def _ours(model: nn.Module, image: Tensor, share: float, threads: int) -> nn.Module:
    timer = OnnxLayerTimer(threads=threads)
    return prune_to(model, (image,), macs=share, timer=timer, limits=Limits(multiple=16))


def _call(model: nn.Module, image: Tensor, threads: int) -> Callable[[], object]:
    session, array = _session(model, image, threads), image.numpy()
    return lambda: session(array)


def _session(model: nn.Module, image: Tensor, threads: int) -> Session:
    options = session_options()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        return open_model(onnx_model(model, image, Path(folder)), options)
