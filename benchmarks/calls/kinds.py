"""Every argument of every public call, replaced by what people give by mistake."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import nn

import torchedge
from benchmarks.calls.scene import Scene
from torchedge import exporting
from torchedge.batches import Data
from torchedge.bench.gate import Gate
from torchedge.compressed import CompressedModel
from torchedge.distillation import RKD, AttentionTransfer, Decoupled, FitNet, Hinton
from torchedge.distillation.born_again import Ensemble, born_again
from torchedge.distillation.cache import TeacherCache, cache_teacher
from torchedge.distillation.lightning import DistillationModule
from torchedge.distillation.quantized import self_distillation
from torchedge.models import Classifier
from torchedge.pruning import (
    Limits,
    NOfM,
    Ticket,
    Unstructured,
    bake_masks,
    channel_groups,
    lottery_tickets,
    mask_weights,
    masks_of,
    masks_of_zeros,
    prune_by,
    prune_to,
    randomly_masked,
    reinitialised,
    remove_channels,
    weight_masks,
)
from torchedge.pruning.lightning import GradualPruning
from torchedge.quantization import (
    QuantScheme,
    QuantSpec,
    calibrate,
    describe,
    freeze,
    learn_step_sizes,
    prepare_qat,
)
from torchedge.quantization.bit_widths import with_bits
from torchedge.quantization.diagnostics import (
    BitBudget,
    analyse,
    choose_bits,
    lint_calibration,
    requantize,
    sensitivity,
)
from torchedge.quantization.lightning import QuantizationAwareTraining
from torchedge.quantization.recovery import (
    Recovery,
    correct_biases,
    equalize,
    quantize,
    reestimate_batchnorm,
    refit_last_layer,
    round_adaptively,
)
from torchedge.report.verify import verify

__all__ = ["BASES", "WRONG", "wrong_calls"]

Given: TypeAlias = dict[str, Any]
_Base: TypeAlias = tuple[Callable[..., object], Callable[[Scene], Given]]

WRONG: Mapping[str, object] = {
    "None": None,
    "5": 5,
    "-1": -1,
    "nan": float("nan"),
    "'x'": "x",
    "b'x'": b"x",
    "[]": [],
    "[None]": [None],
    "{}": {},
    "{'a': None}": {"a": None},
    "object()": object(),
    "torch.zeros(2)": torch.zeros(2),
    "True": True,
}


def _data(scene: Scene) -> Given:
    return {"model": scene.calibrated, "batches": scene.x}


def _net(scene: Scene) -> Given:
    return {"model": scene.net, "example_inputs": scene.x[:1]}


def _ticket(scene: Scene) -> Ticket:
    masked = mask_weights(scene.net, weight_masks(scene.net, 0.5))
    return Ticket.of(masked, scene.net.state_dict())


def _saved_ticket(scene: Scene) -> object:
    return _ticket(scene).save(scene.new).path


def _cache(scene: Scene) -> object:
    folder = scene.new
    cache_teacher(scene.net, scene.x, folder)
    return folder


def _task(scene: Scene) -> Given:
    terms = {"h": (0.9, Hinton(4.0))}
    return {"task": Classifier(scene.net), "teacher": scene.net, "terms": terms, "hard_weight": 0.1}


def _lottery(scene: Scene) -> Given:
    state = scene.net.state_dict()
    shares = {"sparsity_per_round": 0.2, "rounds": 1, "rewind_to": state}
    return {"model": scene.net, "fit": lambda network: None, **shares}


def _layers(scene: Scene) -> Given:
    channels = {"student_channels": 16, "teacher_channels": 16}
    return {"student_layer": "0", "teacher_layer": "0", **channels}


def _masked(scene: Scene) -> Given:
    return {"model": mask_weights(scene.net, weight_masks(scene.net, 0.5))}


def _way(scene: Scene) -> Given:
    return {"source": scene.saved, "target": exporting.target("onnx-cpu")}


BASES: Mapping[str, _Base] = {
    "prepare_qat": (prepare_qat, lambda s: {"scheme": "jetson", **_net(s)}),
    "calibrate": (calibrate, lambda s: {"model": s.prepared, "batches": s.x, "rule": "minmax"}),
    "quantize": (
        quantize,
        lambda s: {"model": s.net, "scheme": "jetson", "batches": s.x, "effort": "fast"},
    ),
    "freeze": (freeze, lambda s: {"model": s.calibrated}),
    "describe": (describe, lambda s: {"model": s.calibrated}),
    "learn_step_sizes": (learn_step_sizes, lambda s: {"model": s.calibrated}),
    "QuantizationAwareTraining": (
        QuantizationAwareTraining,
        lambda s: {"freeze_ranges_from_epoch": 1, "freeze_batchnorm_from_epoch": 2},
    ),
    "analyse": (analyse, _data),
    "sensitivity": (sensitivity, _data),
    "requantize": (requantize, lambda s: {"scheme": "onnx-cpu", **_data(s)}),
    "lint_calibration": (lint_calibration, lambda s: {"batches": s.x}),
    "with_bits": (with_bits, lambda s: {"model": s.prepared, "bits": {"0": 4}}),
    "BitBudget": (BitBudget, lambda s: {"weight_bytes": 5000}),
    "choose_bits": (
        choose_bits,
        lambda s: {
            "sensitivities": sensitivity(s.calibrated, s.x),
            "budget": BitBudget(weight_bytes=5000),
        },
    ),
    "equalize": (equalize, lambda s: {"batches": s.x, **_net(s)}),
    "refit_last_layer": (refit_last_layer, lambda s: {"reference": s.net, **_data(s)}),
    "correct_biases": (correct_biases, _data),
    "round_adaptively": (round_adaptively, lambda s: {"iterations": 1, **_data(s)}),
    "reestimate_batchnorm": (reestimate_batchnorm, _data),
    "Recovery": (Recovery, lambda s: {"rounding_iterations": 1}),
    "prune_to": (prune_to, lambda s: {"macs": 0.5, **_net(s)}),
    "prune_by": (prune_by, lambda s: {"ratio": 0.5, **_net(s)}),
    "channel_groups": (channel_groups, _net),
    "remove_channels": (
        remove_channels,
        lambda s: {"model": s.net, "keep": {channel_groups(s.net, s.x[:1])[0]: [0]}},
    ),
    "weight_masks": (weight_masks, lambda s: {"model": s.net, "sparsity": 0.5}),
    "mask_weights": (
        mask_weights,
        lambda s: {"model": s.net, "masks": weight_masks(s.net, 0.5)},
    ),
    "bake_masks": (bake_masks, _masked),
    "masks_of": (masks_of, _masked),
    "masks_of_zeros": (masks_of_zeros, _masked),
    "GradualPruning": (
        GradualPruning,
        lambda s: {"sparsity": 0.9, "begin_epoch": 1, "end_epoch": 8},
    ),
    "lottery_tickets": (lambda **given: list(lottery_tickets(**given)), _lottery),
    "NOfM": (NOfM, lambda s: {"n": 2, "m": 4}),
    "Unstructured": (Unstructured, lambda s: {"scope": "layer", "least_kept": 0.1}),
    "Limits": (Limits, lambda s: {"multiple": 8}),
    "Ticket.of": (Ticket.of, lambda s: {"weights": s.net.state_dict(), "network": s.net}),
    "Ticket.open": (Ticket.open, lambda s: {"folder": _saved_ticket(s)}),
    "randomly_masked": (randomly_masked, lambda s: {"ticket": _ticket(s), "seed": 0}),
    "reinitialised": (reinitialised, lambda s: {"ticket": _ticket(s), "fresh": s.net}),
    "Hinton": (Hinton, lambda s: {"temperature": 4.0}),
    "Decoupled": (Decoupled, lambda s: {"temperature": 4.0}),
    "FitNet": (FitNet, _layers),
    "RKD": (RKD, lambda s: {"student_layer": "0", "teacher_layer": "0"}),
    "AttentionTransfer": (
        AttentionTransfer,
        lambda s: {"student_layer": "0", "teacher_layer": "0"},
    ),
    "DistillationModule": (DistillationModule, _task),
    "cache_teacher": (
        cache_teacher,
        lambda s: {"teacher": s.net, "data": s.x, "folder": s.new},
    ),
    "TeacherCache.open": (
        TeacherCache.open,
        lambda s: {"folder": _cache(s), "teacher": s.net, "data": s.x},
    ),
    "self_distillation": (
        self_distillation,
        lambda s: {"model": s.calibrated, "teacher": s.net},
    ),
    "born_again": (
        lambda **given: list(born_again(**given)),
        lambda s: {
            "make_student": lambda: nn.Linear(2, 2),
            "fit": lambda student, teacher: None,
            "generations": 1,
        },
    ),
    "Ensemble": (Ensemble, lambda s: {"networks": [s.net]}),
    "load_artifact": (exporting.load_artifact, lambda s: {"folder": s.saved.path}),
    "torchedge.export": (
        torchedge.export,
        lambda s: {"artifact_or_model": s.saved, "target": "onnx-cpu", "out": s.saved.path},
    ),
    "torchedge.compress": (
        torchedge.compress,
        lambda s: {"model": s.net, "target": "onnx-cpu", "data": s.x, "out": s.saved.path},
    ),
    "torchedge.save": (
        torchedge.save,
        lambda s: {"model": s.net, "out": s.saved.path, "samples": s.x},
    ),
    "torchedge.verify": (torchedge.verify, lambda s: {"out": s.saved.path}),
    "torchedge.load": (torchedge.load, lambda s: {"path": s.saved.path}),
    "torchedge.target": (torchedge.target, lambda s: {"name": "jetson"}),
    "torchedge.quantize": (
        torchedge.quantize,
        lambda s: {"model": s.net, "target": "onnx-cpu", "data": s.x, "effort": "fast"},
    ),
    "torchedge.prepare_qat": (
        torchedge.prepare_qat,
        lambda s: {"model": s.net, "target": "onnx-cpu", "example_inputs": s.x[:1]},
    ),
    "torchedge.prune_channels": (
        torchedge.prune_channels,
        lambda s: {"model": s.net, "example_inputs": s.x[:1], "macs": 0.5},
    ),
    "torchedge.prune_weights": (
        torchedge.prune_weights,
        lambda s: {"model": s.net, "sparsity": 0.5},
    ),
    "export_chain": (exporting.export_chain, lambda s: {"folder": s.new, **_way(s)}),
    "remaining_steps": (exporting.remaining_steps, _way),
    "verify": (verify, lambda s: {"artifacts": (s.saved,), **_way(s)}),
    "target": (exporting.target, lambda s: {"name": "jetson"}),
    "runner": (exporting.runner, lambda s: {"format": "onnx"}),
    "require_free": (exporting.require_free, lambda s: {"folder": s.new, "overwrite": False}),
    "write_artifact": (exporting.write_artifact, lambda s: {"draft": s.saved}),
    "Gate": (Gate, lambda s: {"agreement": 0.9}),
    "Budget": (exporting.Budget, lambda s: {"flash_bytes": 5}),
    "Data": (Data, lambda s: {"source": s.x}),
    "Normalisation": (
        exporting.Normalisation,
        lambda s: {"mean": (0.5,), "deviation": (0.5,)},
    ),
    "QuantSpec": (QuantSpec, lambda s: {"bits": 8}),
    "QuantScheme": (QuantScheme, lambda s: {"bias": "float"}),
    "CompressedModel": (
        lambda folder=None, **given: CompressedModel(**given).save(folder),
        lambda s: {"module": s.net, "samples": s.x, "example_inputs": s.x[:1], "folder": s.new},
    ),
}


def wrong_calls(
    scene: Scene, name: str, wrong: Mapping[str, object] = WRONG
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every argument of one call replaced by every wrong value, one at a time.

    Args:
        scene: What the call works with.
        name: One of ``BASES``.
        wrong: The values, by what people would type.
    """
    call, given_for = BASES[name]
    given = given_for(scene)
    named = inspect.signature(call).parameters.values()
    others = [p.name for p in named if p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL}]
    for argument in dict.fromkeys((*given, *others)):
        for text, value in wrong.items():
            changed = partial(call, **{**given, argument: value})
            yield f"{name}({argument}={text})", changed
