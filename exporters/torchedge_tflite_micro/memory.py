"""What a project takes of a board's flash and RAM, part by part."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from torchedge.bench.memory import Fit, Memory, MemoryPart
from torchedge_tflite.flatbuffer import FlatModel
from torchedge_tflite_micro.boards import Board
from torchedge_tflite_micro.operators import model_operators

__all__ = ["Sizes", "fit_on", "largest_contributors"]

_KIB = 1024
# Code of TensorFlow Lite Micro on a Cortex-M4 (gcc 12, -Os for the core, -O2 for kernels): builds
# with CMSIS-NN of three networks, without their bytes, took 114, 107 and 54 kB. Core and C library
# are 39 kB of each; the rest was shared out among the kernels that each has.
_RUNTIME_BYTES = 39_000
_KERNEL_BYTES: Mapping[str, int] = {
    "CONV_2D": 30_000,
    "DEPTHWISE_CONV_2D": 17_000,
    "FULLY_CONNECTED": 15_000,
    "ADD": 10_000,
    "SOFTMAX": 7_000,
    "AVERAGE_POOL_2D": 5_000,
    "MAX_POOL_2D": 5_000,
    "RESHAPE": 1_000,
}
_OTHER_KERNEL_BYTES = 6_000  # no build with them was measured
_FROM_BUILDS = "from builds of three networks for Cortex-M4, none of this one"
_FROM_MEMORY = "an empty program of this platform; not measured"


@final
@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What was measured of a project.

    Args:
        model_bytes: The .tflite file.
        golden_bytes: Inputs and answers of the golden test.
        arena_bytes: What the project reserves.
        smallest_arena_bytes: The least that works here.
    """

    model_bytes: int
    golden_bytes: int
    arena_bytes: int
    smallest_arena_bytes: int


def fit_on(board: Board, flat: FlatModel, sizes: Sizes) -> Fit:
    """Flash, RAM and the arena in one piece, against the board's limits."""
    arena = MemoryPart(
        name="tensor arena",
        bytes=sizes.arena_bytes,
        evidence="estimated" if board.kernels.startswith("esp-nn") else "measured",
        how=(
            f"{sizes.smallest_arena_bytes:,} bytes are the least in tflite-micro here; the rest is "
            f"scratch of {board.kernels} by rule, and rounding to KiB"
        ),
    )
    ram = (
        arena,
        _estimated("core", board.core_ram_bytes, _FROM_MEMORY),
        _estimated("stack", board.stack_bytes, "what TensorFlow Lite Micro is usually given"),
    )
    memories = [
        Memory(kind="flash", limit_bytes=board.flash_bytes, parts=_flash(board, flat, sizes))
    ]
    memories.append(Memory(kind="RAM", limit_bytes=board.ram_bytes, parts=ram))
    if board.arena_limit_bytes < board.ram_bytes:
        memories.append(
            Memory(kind="RAM in one piece", limit_bytes=board.arena_limit_bytes, parts=(arena,))
        )
    return Fit(device=board.device.name, memories=tuple(memories))


def _flash(board: Board, flat: FlatModel, sizes: Sizes) -> tuple[MemoryPart, ...]:
    kernels = sum(_KERNEL_BYTES.get(n, _OTHER_KERNEL_BYTES) for n in model_operators(flat))
    return (
        _measured("model", sizes.model_bytes, "size of model.tflite"),
        _measured("golden test", sizes.golden_bytes, "0 where its macro is off"),
        _estimated(f"kernels ({len(model_operators(flat))})", kernels, _FROM_BUILDS),
        _estimated("runtime and C library", _RUNTIME_BYTES, _FROM_BUILDS),
        _estimated("core", board.core_flash_bytes, _FROM_MEMORY),
    )


def _measured(name: str, size: int, how: str) -> MemoryPart:
    return MemoryPart(name=name, bytes=size, evidence="measured", how=how)


def _estimated(name: str, size: int, how: str) -> MemoryPart:
    return MemoryPart(name=name, bytes=size, evidence="estimated", how=how)


def largest_contributors(flat: FlatModel) -> dict[str, str]:
    """What in the network takes most: stored tensors of flash, the widest operator of RAM."""
    stored = sorted(flat.tensors, key=lambda tensor: -tensor.bytes)[:3]
    weights = ", ".join(f"'{t.name.split('/')[-1]}' {t.bytes:,}" for t in stored)
    live = [
        sum(
            int(np.prod(flat.tensors[i].shape))
            for i in (*operator.inputs, *operator.outputs)
            if i >= 0 and flat.tensors[i].values is None
        )
        for operator in flat.operators
    ]
    widest = flat.operators[int(np.argmax(live))]
    name = flat.tensors[widest.outputs[0]].name.split("/")[-1]
    activations = f"{widest.name} '{name}' reads and writes {max(live):,}"
    return {
        "flash": f"In the model: {weights}",
        "RAM": f"In the network: {activations}",
        "RAM in one piece": f"In the network: {activations}",
    }
