"""int8 TFLite files of the same float networks: this project, onnx2tf -oiqt, ai-edge-quantizer.

    python -m benchmarks.tflite [NAME ...]

All of them see the same 64 samples. Each row: bytes; time of one inference in LiteRT (XNNPACK, one
thread, in turn with the float file; a multiple of its time); distance from the float network in dB
and top-1 agreement on other samples; accuracy where there are labels; and how many of the trained
numbers are in the file. For onnx2tf that is counted in what it makes of the file with Q/DQ, which
it is free to keep. The digits network and the keyword spotter are trained first, EfficientNet-Lite0
and Lite1 have trained weights, and the others random ones. Written to runs/tflite.json as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import cyclopts
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.distilled.fitting import fit, labelled_loader
from benchmarks.integers.files import Kept, kept_numbers, open_bytes
from benchmarks.integers.networks import NETWORKS, keywords, with_own_statistics
from benchmarks.integers.rivals import ai_edge_int8, onnx2tf_int8
from benchmarks.peers.measure import interleaved, sqnr_db, top1_agreement
from benchmarks.peers.packages import attempted
from benchmarks.rows import quiet_with_converter, rows_of_networks
from torchedge.backends import TFLITE
from torchedge.bench.session import Array, Session
from torchedge.compressed import CompressedModel
from torchedge.data import Digits
from torchedge.errors import ExportError
from torchedge.exporting import Artifact
from torchedge.models import Classifier
from torchedge.quantization import calibrate, prepare_qat
from torchedge.quantization.range_rules import mse
from torchedge_onnx.step import MODEL_FILE as ONNX_FILE
from torchedge_onnx.step import TorchToOnnx
from torchedge_tflite.qdq_reader import read_trained
from torchedge_tflite.step import MODEL_FILE, OnnxToTFLite

_CALIBRATION = 64
_ROUNDS = 30


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """One file of one network.

    Args:
        network: Its name.
        made_by: Which tool.
        bytes: Of the file.
        median_ms: Of one inference.
        of_float: That as a multiple of the float file's.
        sqnr_db: Distance of the outputs from the float network's; ``None`` where they are equal.
        top1: Share of samples with the same largest score; ``None`` where there are no scores.
        accuracy: Share of labels that it finds; ``None`` where there are none.
        kept: Trained numbers in the file; ``None`` where it never saw them.
    """

    network: str
    made_by: str
    bytes: int
    median_ms: float
    of_float: float
    sqnr_db: float | None
    top1: float | None
    accuracy: float | None
    kept: Kept | None


@final
@dataclass(frozen=True, kw_only=True)
class Subject:
    """A float network and data.

    Args:
        module: In eval mode.
        calibration: What all tools see.
        data: What the files are compared on.
        answers: Of the float network.
        labels: Where there are any.
    """

    module: nn.Module
    calibration: Tensor
    data: Tensor
    answers: Array
    labels: Array | None


def subject(name: str) -> Subject:
    """Build a network, train the digits one, and let the others' batch norms see data."""
    torch.manual_seed(0)
    network, labels = NETWORKS[name], None
    module = network.build().eval()
    if name == "digits":
        digits = Digits()
        fit(Classifier(module), labelled_loader(digits.train_images, digits.train_labels))
        seen, evaluated, labels = digits.train_images, digits.test_images, digits.test_labels
    elif name == "keyword_spotting":
        words = keywords()
        seen, evaluated, labels = words.train.features, words.test.features, words.test.labels
    else:
        seen = network.data(_CALIBRATION + network.samples)
        evaluated = seen[_CALIBRATION:]
        if not network.trained:
            module = with_own_statistics(module, seen[:_CALIBRATION])
    module.eval()
    with torch.no_grad():
        answers = torch.cat([module(batch) for batch in evaluated.split(16)]).numpy()
    return Subject(
        module=module,
        calibration=seen[:_CALIBRATION],
        data=evaluated,
        answers=answers,
        labels=None if labels is None else labels.numpy(),
    )


def saved(case: Subject, folder: Path, *, quantized: bool) -> Artifact:
    """The ONNX artefact, float or with Q/DQ from this project's calibration."""
    module, example = case.module, case.data[:1]
    if quantized:
        prepared = prepare_qat(module, TFLITE, (example,)).eval()
        module = calibrate(prepared, case.calibration.split(16), mse)
    source = CompressedModel(
        module=module,
        scheme=TFLITE if quantized else None,
        example_inputs=(example,),
        samples=(case.data[:4],),
    ).save(folder / "torch")
    (folder / "onnx").mkdir()
    return TorchToOnnx().export(source, folder / "onnx")


def files(case: Subject, folder: Path) -> tuple[dict[str, bytes], dict[str, Kept]]:
    """The float file and everybody's int8 file, and which trained numbers are in them."""
    for part in ("float", "int8", "tflite", "tflite_float"):
        (folder / part).mkdir()
    floating = saved(case, folder / "float", quantized=False)
    quantized = saved(case, folder / "int8", quantized=True)
    ours = OnnxToTFLite().export(quantized, folder / "tflite")
    calibration = case.calibration.numpy()
    whole = OnnxToTFLite(precision="float32").export(floating, folder / "tflite_float")
    float_file = whole.file(MODEL_FILE)
    tools: dict[str, Callable[[], bytes]] = {
        "onnx2tf -oiqt": lambda: onnx2tf_int8(floating.file(ONNX_FILE), calibration),
        "ai-edge-quantizer": lambda: ai_edge_int8(float_file, calibration),
    }
    made = {"float32": float_file.read_bytes(), "torchedge": ours.file(MODEL_FILE).read_bytes()}
    for name, tool in tools.items():
        if (data := _tried(name, tool)) is not None:
            made[name] = data
    trained = read_trained(_graph(quantized))
    kept = {"torchedge": kept_numbers(made["torchedge"], trained)}
    from_qdq = _tried(
        "onnx2tf -oiqt on Q/DQ", lambda: onnx2tf_int8(quantized.file(ONNX_FILE), calibration)
    )
    if from_qdq is not None:
        kept["onnx2tf -oiqt"] = kept_numbers(from_qdq, trained)
    return made, kept


def _graph(artifact: Artifact):  # noqa: ANN202 - onnx is imported in here
    from torchedge_onnx.census import read_model

    return read_model(artifact.file(ONNX_FILE))


def _tried(name: str, tool: Callable[[], bytes]) -> bytes | None:
    try:
        return attempted(name, tool)
    except ExportError as error:
        print(f"{name}: {error}", flush=True)
        return None


def rows_of(name: str, folder: Path) -> list[Row]:
    """All files of one network, timed in turn."""
    case = subject(name)
    made, kept = files(case, folder)
    shapes = tuple(case.data[:1].shape), (1, *case.answers.shape[1:])
    sessions = {tool: open_bytes(data, *shapes) for tool, data in made.items()}
    first = case.data[:1].numpy()
    timings = interleaved({t: _call(s, first) for t, s in sessions.items()}, rounds=_ROUNDS)
    rows = []
    for tool, session in sessions.items():
        answers = np.concatenate([session(x[None])[0] for x in case.data.numpy()])
        distance = sqnr_db(torch.from_numpy(answers), torch.from_numpy(case.answers))
        scores = answers.ndim == 2
        rows.append(
            Row(
                network=name,
                made_by=tool,
                bytes=len(made[tool]),
                median_ms=timings[tool].median_ms,
                of_float=timings[tool].ratio,
                sqnr_db=distance if np.isfinite(distance) else None,
                top1=_top1(answers, case.answers) if scores else None,
                accuracy=None
                if case.labels is None
                else float(np.mean(answers.argmax(1) == case.labels)),
                kept=kept.get(tool),
            )
        )
    return rows


def _call(session: Session, sample: Array) -> Callable[[], object]:
    return lambda: session(sample)


def _top1(answers: Array, reference: Array) -> float:
    return top1_agreement(torch.from_numpy(answers), torch.from_numpy(reference))


def table(rows: list[Row]) -> Table:
    """The rows for people."""
    shown = Table(title="int8 TFLite files from the same float networks and the same 64 samples")
    columns = ("network", "made by", "bytes", "ms", "of float", "SQNR", "top-1", "accuracy")
    for column in (*columns, "activations kept", "weights kept"):
        shown.add_column(column, justify="left" if column in columns[:2] else "right")
    for row in rows:
        kept = row.kept
        shown.add_row(
            row.network,
            row.made_by,
            f"{row.bytes:,}",
            f"{row.median_ms:.3f}",
            f"{row.of_float:.2f}",
            "equal" if row.sqnr_db is None else f"{row.sqnr_db:.1f} dB",
            "" if row.top1 is None else f"{row.top1:.1%}",
            "" if row.accuracy is None else f"{row.accuracy:.1%}",
            "" if kept is None else f"{kept.activations} of {kept.of_activations}",
            "" if kept is None else f"{kept.weights} of {kept.of_weights}",
        )
    return shown


def main(*names: str, out: Path = Path("runs/tflite.json")) -> None:
    """Make everybody's files and print a row each.

    Args:
        names: Networks of the list; all of them if none is given.
        out: JSON file with the same figures.
    """
    quiet_with_converter()
    rows = rows_of_networks(names or NETWORKS, rows_of, out)
    Console(width=150).print(table(rows))


if __name__ == "__main__":
    cyclopts.run(main)
