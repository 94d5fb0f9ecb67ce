"""Every CNN family of torchvision on integers: prepared, calibrated, exported and run.

    python benchmarks/coverage.py [NAME ...]
    python benchmarks/coverage.py NAME --layers

Random weights with batch-norm statistics of the data they see. Each row compares ONNX Runtime with
the PyTorch reference (on integers) and with the fake-quantised network, and counts the share of
multiply-accumulates that ONNX Runtime does on integers. Written to runs/coverage.json as well.
With ``--layers`` every quantised tensor is compared, with PyTorch reading what the runtime computed
before it (what an operation differs by itself) and reading its own.
"""

import json
import logging
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, final

import cyclopts
import numpy as np
import torch
import torchvision
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.peers.measure import sqnr_db
from torchedge.backends import ONNX_RUNTIME
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.exporting import Artifact
from torchedge.quantization import calibrate, describe, minmax, prepare_qat
from torchedge_onnx.census import runtime_census
from torchedge_onnx.differences import tensor_differences
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE, TorchToOnnx

SIZES = {
    "resnet18": 64,
    "resnet50": 64,
    "mobilenet_v2": 96,
    "mobilenet_v3_small": 96,
    "mobilenet_v3_large": 96,
    "shufflenet_v2_x1_0": 96,
    "squeezenet1_1": 96,
    "efficientnet_b0": 96,
    "efficientnet_v2_s": 96,
    "mnasnet1_0": 96,
    "regnet_y_400mf": 96,
    "regnet_x_400mf": 96,
    "densenet121": 96,
    "googlenet": 96,
    "inception_v3": 139,
    "vgg11_bn": 224,
    "convnext_tiny": 96,
    "vit_b_16": 224,
}
_SAMPLES = 16


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """What one network shows.

    Args:
        name: Name in torchvision.models.
        integer_share: Of the multiply-accumulates, in ONNX Runtime's own graph.
        identical: Share of outputs equal to the PyTorch reference.
        within_one_lsb: Share of outputs at most one step from it.
        fake_quantised_db: SQNR of ONNX Runtime against the fake-quantised network in float.
        float_db: SQNR of the fake-quantised network against the float network.
        float_operations: Kinds of operations that stay in float by design.
    """

    name: str
    integer_share: float
    identical: float
    within_one_lsb: float
    fake_quantised_db: float
    float_db: float
    float_operations: str


def network(name: str) -> nn.Module:
    """A network of torchvision with random weights."""
    torch.manual_seed(0)
    build = getattr(torchvision.models, name)
    if name in {"googlenet", "inception_v3"}:
        return build(weights=None, aux_logits=False, init_weights=True)  # type: ignore[no-any-return]
    model: nn.Module = build(weights=None)
    if name.startswith("vit"):  # its head begins at zero, and would make every output equal
        nn.init.normal_(model.heads[-1].weight, std=0.05)  # type: ignore[index,union-attr,arg-type]
    return model


def images(size: int) -> Tensor:
    """Smooth random pictures with some noise."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(_SAMPLES, 3, 8, 8, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return smooth + 0.3 * torch.randn(smooth.shape, generator=generator)


@torch.no_grad()
def with_own_statistics(model: nn.Module, data: Tensor) -> nn.Module:
    """Batch norms that know the data, so that signals neither die nor explode."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for batch in data.split(4):
        model(batch)
    return model.eval()


@final
@dataclass(frozen=True, kw_only=True)
class Exported:
    """One network in every form."""

    data: Tensor
    model: nn.Module
    quantised: nn.Module
    artifact: Artifact
    path: Path


def exported(name: str, folder: Path) -> Exported:
    """Take one network all the way to an ONNX file."""
    data = images(SIZES[name])
    model = with_own_statistics(network(name).eval(), data)
    prepared = prepare_qat(model, ONNX_RUNTIME, (data[:1],)).eval()
    quantised = calibrate(prepared, data.split(4), minmax)
    artifact = CompressedModel(
        name=name,
        module=quantised,
        scheme=ONNX_RUNTIME,
        example_inputs=(data[:1],),
        samples=(data,),
    ).save(folder / "torch")
    (folder / "onnx").mkdir()
    path = TorchToOnnx().export(artifact, folder / "onnx").path / MODEL_FILE
    return Exported(data=data, model=model, quantised=quantised, artifact=artifact, path=path)


def layers(name: str, folder: Path, samples: int = 2) -> Table:
    """Every quantised tensor of a network, in ONNX Runtime and in PyTorch."""
    forms = exported(name, folder)
    inputs = [(forms.data[i : i + 1].numpy(),) for i in range(samples)]
    shown = Table(title=f"{name}: shares of values that are equal, and at most one step apart")
    for column in ("computed by", "written by"):
        shown.add_column(column)
    for column in ("by itself", "≤ 1", "with all before it", "≤ 1"):
        shown.add_column(column, justify="right")
    for row in tensor_differences(forms.artifact, forms.path, inputs):
        shares = (row.local_identical, row.local_within_one, row.identical, row.within_one)
        shown.add_row(row.name, row.operation, *(f"{share:.4%}" for share in shares))
    return shown


def examined(name: str, folder: Path) -> Row:
    """Compare one network's forms."""
    forms = exported(name, folder)
    data, model, quantised = forms.data, forms.model, forms.quantised
    artifact = forms.artifact
    inputs = [data[i : i + 1].numpy() for i in range(len(data))]
    session = open_model(forms.path)
    found = np.concatenate([session(x)[0] for x in inputs])
    with TorchRunner().open(artifact) as reference:
        wanted = np.concatenate([reference(x)[0] for x in inputs])
    with torch.no_grad():
        fake, real = quantised(data), model(data)
    steps = np.abs(found - wanted) / (artifact.outputs[0].scale or 1.0)
    kept = {row.kind for row in describe(quantised)} & {"normalisation", "nonlinear", "sigmoid"}
    return Row(
        name=name,
        integer_share=runtime_census(forms.path).integer_share,
        identical=float(np.mean(steps < 0.01)),
        within_one_lsb=float(np.mean(steps < 1.01)),
        fake_quantised_db=sqnr_db(torch.from_numpy(found), fake),
        float_db=sqnr_db(fake, real),
        float_operations=", ".join(sorted(kept)),
    )


def table(rows: list[Row]) -> Table:
    """The rows for people."""
    shown = Table(title="ONNX Runtime, scheme onnx-cpu")
    for column in ("network", "integer MACs", "identical", "within 1 LSB", "to fake", "to float"):
        shown.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        shares = (row.integer_share, row.identical, row.within_one_lsb)
        ratios = (row.fake_quantised_db, row.float_db)
        shown.add_row(
            row.name, *(f"{s:.2%}" for s in shares), *(f"{ratio:.1f} dB" for ratio in ratios)
        )
    return shown


def main(
    *names: str,
    layer_by_layer: Annotated[bool, cyclopts.Parameter(name="--layers", negative=())] = False,
    out: Path = Path("runs/coverage.json"),
) -> None:
    """Examine the networks and print a row each.

    Args:
        names: Networks of the list; all of them if none is given.
        layer_by_layer: Print a row for each quantised tensor instead, and write nothing.
        out: JSON file with the same figures.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rows: list[Row] = []
    console = Console(width=120)
    if layer_by_layer:
        for name in names or SIZES:
            with tempfile.TemporaryDirectory() as folder:
                console.print(layers(name, Path(folder)))
        return
    for name in names or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(examined(name, Path(folder)))
        console.print(rows[-1])
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps([asdict(row) for row in rows], indent=2), encoding="utf-8")
    console.print(table(rows))


if __name__ == "__main__":
    cyclopts.run(main)
