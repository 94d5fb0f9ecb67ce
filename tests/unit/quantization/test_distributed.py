"""Two processes that see different data end with the same ranges."""

import os
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from torchedge.quantization import FakeQuantize, QuantScheme, QuantSpec, prepare_qat
from torchedge.quantization.distributed import range_over_processes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_gloo_available(), reason="torch has no gloo"),
]

PROCESSES = 2


def join(rank, folder):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=60),
    )


def observe(rank, folder):
    """Rank 0 sees [-1, 2], rank 1 sees [-3, 0.5]; then a second batch ten times as wide."""
    join(rank, folder)
    quantizer = FakeQuantize(QuantSpec(), averaging=0.5)
    batch = torch.tensor([[-1.0, 2.0], [-3.0, 0.5]])[rank]
    quantizer(batch)
    first = quantizer.low.item(), quantizer.high.item()
    quantizer(10 * batch)
    second = quantizer.low.item(), quantizer.high.item()
    quantizer.eval()(1000 * batch)
    torch.save(
        (first, second, (quantizer.low.item(), quantizer.high.item())), _result(folder, rank)
    )
    dist.destroy_process_group()


def train(rank, folder):
    """Three steps under DistributedDataParallel, each process with its own images."""
    join(rank, folder)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)
    )
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(rank)) * (rank + 1)
    model = DistributedDataParallel(prepare_qat(net, QuantScheme(), (images[:1],)).train())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.arange(8) % 4).backward()
        optimizer.step()
    ranges = {n: b for n, b in model.named_buffers() if "quantizers" in n}
    weights = dict(model.named_parameters())
    torch.save({n: v.detach() for n, v in {**ranges, **weights}.items()}, _result(folder, rank))
    dist.destroy_process_group()


def _result(folder, rank):
    return Path(folder) / f"{rank}.pt"


def in_every_process(work):
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(work, args=(folder,), nprocs=PROCESSES)
        return [torch.load(_result(folder, rank)) for rank in range(PROCESSES)]


def test_the_range_is_that_of_all_processes_and_evaluation_asks_nobody():
    results = in_every_process(observe)
    assert results[0] == results[1]
    assert results[0] == ((-3, 2), (-16.5, 11), (-16.5, 11))


def test_wrapped_training_keeps_ranges_and_weights_equal_on_all_ranks():
    """Broadcasting buffers alone leaves each rank with its own last batch."""
    results = in_every_process(train)
    ranges = [name for name in results[0] if "quantizers" in name]
    assert len(ranges) >= 4
    for name, value in results[0].items():
        assert torch.equal(results[1][name], value), name
    # The second process sees inputs up to 2, the first up to 1.
    high = next(v for n, v in results[0].items() if n.endswith("input_1.high"))
    assert float(high) > 1.5


def test_alone_the_range_is_the_tensors_themselves():
    low, high = torch.tensor(-1.0), torch.tensor(2.0)
    assert range_over_processes(low, high) == (low, high)
