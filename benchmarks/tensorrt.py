"""Bundles of four networks for every TensorRT target, checked as far as this goes without a GPU.

    python benchmarks/tensorrt.py [NAME ...]

For each network and opset ONNX Runtime is compared with PyTorch; for each target the rules are
checked on the bundle's Q/DQ model and the calibration cache is held against the float model.
Random weights, small pictures. Nothing runs in TensorRT. Written to runs/tensorrt.json as well.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from torch import nn

from torchedge.backends import TENSORRT
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.export.artifact import Artifact
from torchedge.models import MobileDigits
from torchedge.quantization import calibrate, prepare_qat
from torchedge_onnx.census import read_model
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE, TorchToOnnx
from torchedge_tensorrt.calibration_cache import read_cache
from torchedge_tensorrt.platforms import PLATFORMS
from torchedge_tensorrt.ranges import float_tensors
from torchedge_tensorrt.rules import broken_rules
from torchedge_tensorrt.step import CACHE_FILE, PLAIN_FILE, QUANTIZED_FILE, OnnxToTensorRTBundle

_OPSETS = (13, 17, 20)
_SAMPLES = 8


def _torchvision(name: str) -> nn.Module:
    import torchvision

    network: nn.Module = getattr(torchvision.models, name)(weights=None)
    return network


def _efficientnet() -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    return network


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "digits": (MobileDigits, (1, 28, 28)),
    "resnet18": (lambda: _torchvision("resnet18"), (3, 64, 64)),
    "mobilenet_v2": (lambda: _torchvision("mobilenet_v2"), (3, 64, 64)),
    "efficientnet_lite0": (_efficientnet, (3, 64, 64)),
}


def main(*names: str) -> None:
    """Print a line for each network, opset and target.

    Args:
        names: Networks; default all four.
    """
    rows = []
    for name in names or tuple(NETWORKS):
        with tempfile.TemporaryDirectory() as folder:
            for row in _rows(name, Path(folder)):
                rows.append(row)
                print(*(f"{key}={value}" for key, value in row.items()), flush=True)
    out = Path("runs/tensorrt.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(rows, indent=2))


def _rows(name: str, folder: Path) -> list[dict[str, Any]]:
    source = _trained(name, folder / "torch")
    rows = []
    onnx: dict[int, Artifact] = {}
    for opset in _OPSETS:
        place = folder / f"onnx-{opset}"
        place.mkdir()
        onnx[opset] = TorchToOnnx(opset=opset, integer_weights=False).export(source, place)
        rows.append({"network": name, "opset": opset, **_differences(source, onnx[opset])})
    for target, platform in PLATFORMS.items():
        place = folder / target
        place.mkdir()
        step = OnnxToTensorRTBundle(platform=platform, precision=platform.best_precision)
        rows.append({"network": name, "target": target, **_bundle(step, onnx[13], place)})
    return rows


def _trained(name: str, folder: Path) -> Artifact:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    network, images = make().train(), torch.randn(_SAMPLES, *shape)
    with torch.no_grad():
        network(images)  # statistics of the batch norms
    prepared = prepare_qat(network.eval(), TENSORRT, (images[:1],))
    return CompressedModel(
        module=calibrate(prepared, [images]),
        example_inputs=(images[:1],),
        samples=(images,),
        calibration=(images,),
        scheme=TENSORRT,
        name=name,
    ).save(folder)


def _differences(source: Artifact, artifact: Artifact) -> dict[str, Any]:
    """Largest difference in steps of an 8-bit grid over the range of the output."""
    from torchedge.export.samples import SAMPLES_FILE, load_samples

    samples = load_samples(source.file(SAMPLES_FILE))
    session = open_model(artifact.file(MODEL_FILE))
    with TorchRunner().open(source) as reference:
        pairs = [(session(*b)[0], reference(*b)[0]) for b in samples.batches(1)]
    found, expected = (np.concatenate(part) for part in zip(*pairs, strict=True))
    step = np.abs(expected).max() / 127
    largest = float(np.abs(found - expected).max() / step)
    return {"largest_lsb": round(largest, 4), "bit_equal": bool(np.array_equal(found, expected))}


def _bundle(step: OnnxToTensorRTBundle, source: Artifact, folder: Path) -> dict[str, Any]:
    made = step.export(source, folder)
    if step.precision == "fp16":
        return {"precision": "fp16", "rules_broken": len(made.details["rules_broken"])}
    broken = broken_rules(read_model(made.file(QUANTIZED_FILE)), step.platform.tensorrt)
    names = set(float_tensors(read_model(made.file(PLAIN_FILE))))
    covered = names & set(read_cache(made.file(CACHE_FILE))[1])
    return {
        "precision": "int8",
        "rules_broken": len(broken),
        "cache": f"{len(covered)}/{len(names)}",
        "first": broken[0].rule if broken else "",
    }


if __name__ == "__main__":
    sys.exit(cyclopts.run(main))
