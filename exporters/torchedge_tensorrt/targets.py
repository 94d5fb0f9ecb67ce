"""NVIDIA's boards and PCs. ``jetson`` is the Orin Nano with JetPack 6.

One training serves them all: where the GPU has no 8-bit arithmetic, the float network is shipped.
"""

from functools import partial
from typing import cast, get_args

from torchedge.backends import TENSORRT
from torchedge.errors import UnknownNameError
from torchedge.exporting.target import Target
from torchedge_onnx.step import TorchToOnnx
from torchedge_tensorrt.platforms import (
    PLATFORMS,
    Platform,
    Precision,
    require_precision,
    with_jetpack,
)
from torchedge_tensorrt.step import OnnxToTensorRTBundle

__all__ = [
    "DESKTOP_GPU",
    "JETSON_AGX_ORIN",
    "JETSON_AGX_XAVIER",
    "JETSON_NANO",
    "JETSON_ORIN_NANO",
    "JETSON_ORIN_NX",
    "JETSON_THOR",
    "JETSON_TX2",
    "JETSON_XAVIER_NX",
    "tensorrt_target",
]

_OPSET = 13  # read by TensorRT 8.0 to 11; newer ones only for networks that need them


def tensorrt_target(name: str, platform: Platform, precision: Precision | None = None) -> Target:
    """A target for a board, in the best precision that its GPU has or the one that is asked for.

    Raises:
        SchemeError: The GPU does not have that precision.

    Example:
        >>> from torchedge_tensorrt.platforms import PLATFORMS, with_jetpack
        >>> old = with_jetpack(PLATFORMS["jetson-orin-nano"], "5.1")
        >>> tensorrt_target("jetson-orin-nano", old, "fp16").summary
        'TensorRT FP16 bundle, JetPack 5.1'
    """
    chosen = precision or platform.best_precision
    require_precision(platform, chosen)
    software = f"JetPack {platform.jetpack}" if platform.jetpack else "TensorRT 10"
    return Target(
        name=name,
        device=platform.device,
        scheme=TENSORRT,
        steps=(
            TorchToOnnx(opset=_OPSET, opset_at_most=platform.opset, integer_weights=False),
            OnnxToTensorRTBundle(platform=platform, precision=chosen),
        ),
        summary=f"TensorRT {chosen.upper()} bundle, {software}",
        runs_float=chosen == "fp16",
        configure=partial(_configured, name, platform),
    )


def _configured(
    name: str, platform: Platform, *, jetpack: str | None, precision: str | None
) -> Target:
    if jetpack is not None:
        platform = with_jetpack(platform, jetpack)
    known = get_args(Precision)
    if precision is not None and precision not in known:
        raise UnknownNameError(
            f"'{precision}' is no precision of {name}; there are {' and '.join(known)}."
        )
    return tensorrt_target(name, platform, cast(Precision | None, precision))


def _target(name: str) -> Target:
    return tensorrt_target(name, PLATFORMS[name])


JETSON_NANO = _target("jetson-nano")
JETSON_TX2 = _target("jetson-tx2")
JETSON_XAVIER_NX = _target("jetson-xavier-nx")
JETSON_AGX_XAVIER = _target("jetson-agx-xavier")
JETSON_ORIN_NANO = _target("jetson-orin-nano")
JETSON_ORIN_NX = _target("jetson-orin-nx")
JETSON_AGX_ORIN = _target("jetson-agx-orin")
JETSON_THOR = _target("jetson-thor")
DESKTOP_GPU = _target("desktop-gpu")
