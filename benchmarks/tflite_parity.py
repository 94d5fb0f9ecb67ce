"""Networks on TFLite's integers: what equals what, from PyTorch to a microcontroller's runtime.

    python -m benchmarks.tflite_parity [NAME ...]

Each row: share of scales and zero points in the file that are the trained ones; LiteRT with XNNPACK
against PyTorch on integers; the integer simulator against tflite-micro in every output; integer
share, forbidden operators, and the smallest arena. Random weights, with batch norms that know the
data, but for EfficientNet-Lite0. Written to runs/tflite_parity.json as well.
"""

import json
import logging
import os
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import cyclopts
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.integers.networks import NETWORKS, Network
from torchedge.backends import TFLITE
from torchedge.bench import compare
from torchedge.bench.session import Array
from torchedge.compressed import CompressedModel
from torchedge.export import Artifact
from torchedge.export.samples import SAMPLES_FILE, Samples, load_samples
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge_onnx.step import MODEL_FILE as ONNX_FILE
from torchedge_onnx.step import TorchToOnnx
from torchedge_tflite.census import file_census, forbidden_operators
from torchedge_tflite.flatbuffer import FlatModel, read_model
from torchedge_tflite.runner import TFLiteRunner
from torchedge_tflite.simulator import Simulator
from torchedge_tflite.step import MODEL_FILE, OnnxToTFLite
from torchedge_tflite_micro.runtime import Interpreter, smallest_arena
from torchedge_tflite_micro.session import input_ports

_SIMULATED = 8
_CONVERTER = Path(__file__).resolve().parents[1] / ".venv-tflite/bin/python"


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """What one network shows.

    Args:
        name: Of the network.
        operators: In the file.
        trained_numbers: Share of the activations' scales and zero points that training has.
        within_one_lsb: Share of LiteRT's outputs at most one step from PyTorch.
        identical: Share of them that are equal.
        top1: Share of samples with the same largest score; ``None`` where there are no scores.
        samples: How many were compared.
        simulator_differs: Outputs in which the simulator differs from tflite-micro ...
        simulated: ... of so many.
        integer_share: Of the multiply-accumulates.
        forbidden: Operators that have no place in the file.
        smallest_arena_bytes: Found by bisection.
        export_s: From PyTorch to the .tflite file.
    """

    name: str
    operators: int
    trained_numbers: float
    within_one_lsb: float
    identical: float
    top1: float | None
    samples: int
    simulator_differs: int
    simulated: int
    integer_share: float
    forbidden: str
    smallest_arena_bytes: int
    export_s: float


@torch.no_grad()
def with_own_statistics(model: nn.Module, data: Tensor) -> nn.Module:
    """Batch norms that know the data, so that signals neither die nor explode."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for batch in data.split(16):
        model(batch)
    return model.eval()


def exported(name: str, network: Network, folder: Path) -> tuple[Artifact, Artifact]:
    """The artefacts in ONNX and in TFLite."""
    torch.manual_seed(0)
    data = network.data(network.samples)
    model = network.build().eval()
    if not network.trained:
        model = with_own_statistics(model, data[:64])
    prepared = prepare_qat(model, TFLITE, (data[:1],)).eval()
    source = CompressedModel(
        name=name,
        module=calibrate(prepared, data[:64].split(16), minmax),
        scheme=TFLITE,
        example_inputs=(data[:1],),
        samples=(data,),
    ).save(folder / "torch")
    for step in ("onnx", "tflite"):
        (folder / step).mkdir()
    onnx = TorchToOnnx().export(source, folder / "onnx")
    return onnx, OnnxToTFLite().export(onnx, folder / "tflite")


def trained_share(onnx_artifact: Artifact, flat: FlatModel) -> float:
    """Share of the file's activations whose scale and zero point a quantiser of training has."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(onnx_artifact.file(ONNX_FILE))
    values = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    wanted = {
        (np.float32(values[n.input[1]]).item(), int(values[n.input[2]]))
        for n in model.graph.node
        if n.op_type == "QuantizeLinear" and values[n.input[1]].size == 1
    }
    found = [
        (np.float32(t.scales[0]).item(), t.zero_points[0])
        for t in flat.tensors
        if t.values is None and t.scales
    ]
    return float(np.mean([pair in wanted for pair in found]))


def simulated(artifact: Artifact, flat: FlatModel, samples: Samples, arena: int) -> tuple[int, int]:
    """Outputs in which simulator and tflite-micro differ, and how many there were."""
    data = artifact.file(MODEL_FILE).read_bytes()
    device, simulator = (
        Interpreter(data, arena_bytes=arena, outputs=len(flat.outputs)),
        Simulator(flat),
    )
    (port,) = input_ports(flat, artifact.inputs)
    differing = total = 0
    for (x,), _ in zip(samples.batches(1), range(_SIMULATED), strict=False):
        stored = port.stored(x)
        pairs = zip(device(stored), simulator(stored), strict=True)
        counts = [(int(np.count_nonzero(a != b)), a.size) for a, b in pairs]
        differing += sum(count for count, _ in counts)
        total += sum(size for _, size in counts)
    return differing, total


def examined(name: str, folder: Path) -> Row:
    """Take one network all the way."""
    network, begin = NETWORKS[name], time.perf_counter()
    onnx_artifact, artifact = exported(name, network, folder)
    export_s = time.perf_counter() - begin
    file = artifact.file(MODEL_FILE)
    flat, samples = read_model(file), load_samples(artifact.file(SAMPLES_FILE))
    expected = Samples(inputs=samples.expected, expected=()).batches(1)
    steps: list[Array] = []
    with TFLiteRunner().open(artifact) as session:

        def recorded(*inputs: Array) -> tuple[Array, ...]:
            outputs = session(*inputs)
            steps.append(outputs[0])
            return outputs

        scale = artifact.outputs[0].scale or 1.0
        parity = compare(recorded, lambda *_: next(expected), samples.batches(1), scales=[scale])
    distance = np.abs(np.concatenate(steps) - samples.expected[0]) / scale
    arena = smallest_arena(file)
    differs, total = simulated(artifact, flat, samples, arena)
    return Row(
        name=name,
        operators=len(flat.operators),
        trained_numbers=trained_share(onnx_artifact, flat),
        within_one_lsb=float(np.mean(distance < 1.01)),
        identical=parity.outputs[0].identical_share,
        top1=parity.top1_agreement,
        samples=parity.samples,
        simulator_differs=differs,
        simulated=total,
        integer_share=file_census(file).integer_share,
        forbidden=", ".join(forbidden_operators(flat)),
        smallest_arena_bytes=arena,
        export_s=export_s,
    )


def table(rows: list[Row]) -> Table:
    """The rows for people."""
    shown = Table(title="TFLite int8: trained numbers, LiteRT, simulator = tflite-micro")
    columns = ("network", "operators", "trained", "<= 1 LSB", "equal", "top-1", "simulator differs")
    for column in (*columns, "integer", "forbidden", "arena", "export"):
        shown.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        shown.add_row(
            row.name,
            str(row.operators),
            f"{row.trained_numbers:.0%}",
            f"{row.within_one_lsb:.2%}",
            f"{row.identical:.2%}",
            "" if row.top1 is None else f"{row.top1:.1%}",
            f"{row.simulator_differs} of {row.simulated:,}",
            f"{row.integer_share:.0%}",
            row.forbidden or "none",
            f"{row.smallest_arena_bytes:,}",
            f"{row.export_s:.0f} s",
        )
    return shown


def main(*names: str, out: Path = Path("runs/tflite_parity.json")) -> None:
    """Examine the networks and print a row each.

    Args:
        names: Networks of the list; all of them if none is given.
        out: JSON file with the same figures.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if _CONVERTER.exists():
        os.environ.setdefault("TORCHEDGE_TFLITE_PYTHON", str(_CONVERTER))
    rows: list[Row] = []
    for name in names or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(examined(name, Path(folder)))
        print(rows[-1], flush=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    Console(width=150).print(table(rows))


if __name__ == "__main__":
    cyclopts.run(main)
