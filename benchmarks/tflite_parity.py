"""Networks on TFLite's integers: what equals what, from PyTorch to a microcontroller's runtime.

    python -m benchmarks.tflite_parity [NAME ...]

Each row: quantised tensors of the file whose scales, zero points and integers are those of the
very tensor that they came from; LiteRT with XNNPACK against PyTorch, with fake quantisation in
float ("fake") and on integers, as exports are verified; the integer simulator against tflite-micro
in every output; integer share, forbidden operators, and the smallest arena. The keyword spotter and
EfficientNet-Lite0 are trained; the others have random weights, and batch norms that know the data.
Written to runs/tflite_parity.json as well.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import final

import cyclopts
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.integers.networks import NETWORKS, Network, with_own_statistics
from benchmarks.integers.tensors import checked_tensors
from benchmarks.rows import quiet_with_converter, rows_of_networks
from torchedge.backends import TFLITE
from torchedge.bench.session import Array
from torchedge.compressed import CompressedModel
from torchedge.exporting import Artifact
from torchedge.exporting.samples import SAMPLES_FILE, Samples, load_samples
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.quantization.freeze import freeze
from torchedge_onnx.step import TorchToOnnx
from torchedge_tflite.census import file_census, forbidden_operators
from torchedge_tflite.flatbuffer import FlatModel, read_model
from torchedge_tflite.runner import TFLiteRunner
from torchedge_tflite.simulator import Simulator
from torchedge_tflite.step import MODEL_FILE, OnnxToTFLite
from torchedge_tflite_micro.runtime import Interpreter, smallest_arena
from torchedge_tflite_micro.session import input_ports

_SIMULATED = 8
_ONE_STEP = 1.01


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """What one network shows.

    Args:
        name: Of the network.
        operators: In the file.
        tensors: Quantised ones in the file, constants included.
        trained: Those of them that have the numbers of the tensor that they came from.
        fake_within_one_lsb: Share of LiteRT's outputs at most one step from fake quantisation.
        within_one_lsb: Likewise from PyTorch on integers.
        identical: Share of them that are equal to PyTorch on integers.
        fake_top1: Share of samples with the same largest score as with fake quantisation; ``None``
            where there are no scores.
        top1: Likewise as on integers.
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
    tensors: int
    trained: int
    fake_within_one_lsb: float
    within_one_lsb: float
    identical: float
    fake_top1: float | None
    top1: float | None
    samples: int
    simulator_differs: int
    simulated: int
    integer_share: float
    forbidden: str
    smallest_arena_bytes: int
    export_s: float


@final
@dataclass(frozen=True, kw_only=True)
class Exported:
    """A network on its way.

    Args:
        onnx: With Q/DQ.
        tflite: Made from it.
        fake_quantized: What PyTorch answers with fake quantisation.
    """

    onnx: Artifact
    tflite: Artifact
    fake_quantized: Array


def exported(name: str, network: Network, folder: Path) -> Exported:
    """The artefacts in ONNX and in TFLite, and PyTorch's answers."""
    torch.manual_seed(0)
    data = network.data(network.samples)
    model = network.build().eval()
    if not network.trained:
        model = with_own_statistics(model, data[:64])
    prepared = prepare_qat(model, TFLITE, (data[:1],)).eval()
    quantized = calibrate(prepared, data[:64].split(16), minmax)
    source = CompressedModel(
        name=name,
        module=quantized,
        scheme=TFLITE,
        example_inputs=(data[:1],),
        samples=(data,),
    ).save(folder / "torch")
    for step in ("onnx", "tflite"):
        (folder / step).mkdir()
    onnx = TorchToOnnx().export(source, folder / "onnx")
    with torch.no_grad():
        frozen = freeze(quantized, bias=TFLITE.bias)
        fake = torch.cat([frozen(sample) for sample in data.split(1)]).numpy()
    return Exported(
        onnx=onnx, tflite=OnnxToTFLite().export(onnx, folder / "tflite"), fake_quantized=fake
    )


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
    done = exported(name, network, folder)
    artifact, export_s = done.tflite, time.perf_counter() - begin
    file = artifact.file(MODEL_FILE)
    flat, samples = read_model(file), load_samples(artifact.file(SAMPLES_FILE))
    with TFLiteRunner().open(artifact) as session:
        answers = np.concatenate([session(*x)[0] for x in samples.batches(1)])
    scale = artifact.outputs[0].scale or 1.0
    distance = np.abs(answers - samples.expected[0]) / scale
    checks = checked_tensors(done.onnx, artifact, samples.inputs[0][:1])
    for check in checks:
        if not check.equal:
            print(f"{name}: '{check.tensor}' differs from '{check.origin}'", flush=True)
    arena = smallest_arena(file)
    differs, total = simulated(artifact, flat, samples, arena)
    return Row(
        name=name,
        operators=len(flat.operators),
        tensors=len(checks),
        trained=sum(check.equal for check in checks),
        fake_within_one_lsb=float(
            np.mean(np.abs(answers - done.fake_quantized) / scale < _ONE_STEP)
        ),
        within_one_lsb=float(np.mean(distance < _ONE_STEP)),
        identical=float(np.mean(distance < _ONE_STEP - 1)),
        fake_top1=_top1(answers, done.fake_quantized),
        top1=_top1(answers, samples.expected[0]),
        samples=len(answers),
        simulator_differs=differs,
        simulated=total,
        integer_share=file_census(file).integer_share,
        forbidden=", ".join(forbidden_operators(flat)),
        smallest_arena_bytes=arena,
        export_s=export_s,
    )


def _top1(answers: Array, reference: Array) -> float | None:
    same = answers.argmax(1) == reference.argmax(1)
    return float(np.mean(same)) if answers.ndim == 2 else None


def table(rows: list[Row]) -> Table:
    """The rows for people."""
    shown = Table(title="TFLite int8: trained numbers, LiteRT, simulator = tflite-micro")
    columns = ("network", "operators", "trained", "fake: <= 1 LSB", "fake: top-1", "<= 1 LSB")
    for column in (
        *columns,
        "equal",
        "top-1",
        "simulator differs",
        "integer",
        "forbidden",
        "arena",
        "export",
    ):
        shown.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        shown.add_row(
            row.name,
            str(row.operators),
            f"{row.trained} of {row.tensors}",
            f"{row.fake_within_one_lsb:.2%}",
            "" if row.fake_top1 is None else f"{row.fake_top1:.1%}",
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
    quiet_with_converter()
    rows = rows_of_networks(names or NETWORKS, lambda name, folder: [examined(name, folder)], out)
    Console(width=170).print(table(rows))


if __name__ == "__main__":
    cyclopts.run(main)
