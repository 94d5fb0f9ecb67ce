"""Bundles of four networks for every TensorRT target, checked as far as this goes without a GPU.

    python -m benchmarks.tensorrt [NAME ...]

For each network and opset ONNX Runtime is compared with PyTorch; for each target the rules are
checked on the bundle's Q/DQ model and the calibration cache is held against the float model. Then
the float network is exported by PyTorch itself and gets Q/DQ as ``torchedge calibration create
--qdq`` writes them.
Random weights, small pictures. Nothing runs in TensorRT. Written to runs/tensorrt.json as well.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers.measure import sqnr_db
from benchmarks.rows import rows_of_networks
from torchedge.backends import TENSORRT
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.exporting.artifact import Artifact
from torchedge.models import MobileDigits
from torchedge.quantization import calibrate, entropy, prepare_qat
from torchedge_onnx.census import read_model
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE, TorchToOnnx
from torchedge_tensorrt.calibration_cache import read_cache
from torchedge_tensorrt.explicit import explicit_model
from torchedge_tensorrt.host_calibration import calibrate_onnx
from torchedge_tensorrt.platforms import PLATFORMS
from torchedge_tensorrt.rules import broken_rules
from torchedge_tensorrt.scales import float_tensors, trained_scales
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
    rows_of_networks(names or NETWORKS, _rows, Path("runs/tensorrt.json"))


def _rows(name: str, folder: Path) -> list[dict[str, Any]]:
    source = saved(name, *prepared_network(name), folder / "torch")
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
    rows.append({"network": name, "foreign": "PyTorch's export", **_foreign(name, folder)})
    return rows


def _network(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    network, images = make().train(), torch.randn(_SAMPLES, *shape)
    with torch.no_grad():
        network(images)  # statistics of the batch norms
    return network.eval(), images


def prepared_network(name: str) -> tuple[nn.Module, Tensor]:
    """A network of :data:`NETWORKS`, ready to be calibrated, and the images for that."""
    network, images = _network(name)
    return prepare_qat(network, TENSORRT, (images[:1],)), images


def saved(name: str, prepared: nn.Module, images: Tensor, folder: Path) -> Artifact:
    """Calibrate with entropy and save as a recipe would."""
    return CompressedModel(
        module=calibrate(prepared, [images], entropy),
        example_inputs=(images[:1],),
        samples=(images,),
        calibration=(images,),
        scheme=TENSORRT,
        name=name,
    ).save(folder)


def _differences(source: Artifact, artifact: Artifact) -> dict[str, Any]:
    """Largest difference in steps of an 8-bit grid over the range of the output."""
    from torchedge.exporting.samples import SAMPLES_FILE, load_samples

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


def _foreign(name: str, folder: Path) -> dict[str, Any]:
    """Q/DQ in a file of PyTorch's own export, which no rule forbids: scales and answers."""
    network, images = _network(name)
    plain, explicit = folder / "plain.onnx", folder / "explicit.onnx"
    torch.onnx.export(network, (images[:1],), plain, external_data=False, verbose=False)
    single = [(image[None],) for image in images.numpy()]
    made = explicit_model(plain, calibrate_onnx(plain, single).scales, (10, 3, 0))
    explicit.write_bytes(made.model.SerializeToString())
    in_file = trained_scales(made.model)
    equal = sum(made.scales[tensor] == scale for tensor, scale in in_file.items())
    (found,), (real,) = open_model(explicit)(*single[0]), open_model(plain)(*single[0])
    return {
        "layers": f"{made.layers}/{made.layers + len(made.float_layers)}",
        "scales": f"{equal}/{len(in_file)}",
        "sqnr_db": round(sqnr_db(torch.from_numpy(found), torch.from_numpy(real)), 1),
    }


if __name__ == "__main__":
    sys.exit(cyclopts.run(main))
