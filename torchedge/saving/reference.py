"""The saved program, run as its device computes it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor, fx, nn

from torchedge.bench.session import Array, Session
from torchedge.errors import ArtifactError, TorchedgeError
from torchedge.exporting.artifact import Artifact, Format
from torchedge.program import load_module
from torchedge.reading.names import one_line
from torchedge.reference.program import IntegerProgram
from torchedge.saving.outputs import named_tensors
from torchedge.scheme import QuantScheme

__all__ = [
    "PROGRAM_FILE",
    "Reference",
    "TorchRunner",
    "answers_in_batches",
    "integer_program",
    "reference",
]

PROGRAM_FILE = "program.pt2"
_QUANTIZE = torch.ops.torchedge.fake_quantize.default  # registered by the import of integers
_Grid = tuple[float, int]


@final
@dataclass(frozen=True, kw_only=True)
class Reference:
    """A loaded program.

    Args:
        run: On integers where biases are int32.
        output_grids: Scale and zero point of each output that a quantiser wrote, else ``None``.
    """

    run: Callable[..., object]
    output_grids: tuple[_Grid | None, ...]


def reference(path: Path, scheme: QuantScheme | None) -> Reference:
    """Load a saved program, to answer as its device would.

    Raises:
        ArtifactError: The program is damaged or holds what must not be loaded.
    """
    module = load_module(path)
    try:
        program = _on_integers(module, scheme)
        grids = tuple(_grid(node, module) for node in _returned(module))
    except TorchedgeError:
        raise
    except Exception as error:  # it is a program of tensors, but none that was saved here
        raise _not_ours(path, error) from error
    return Reference(run=module if program is None else program.run, output_grids=grids)


def _not_ours(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"'{path}' is no program that CompressedModel.save has written ({type(error).__name__}: "
        f"{one_line(error)}); save the model again."
    )


def integer_program(artifact: Artifact) -> IntegerProgram | None:
    """A saved program to be run node by node on its integers; none where biases are not int32.

    Raises:
        ArtifactError: The program is damaged or holds what must not be loaded.
    """
    return _on_integers(load_module(artifact.file(PROGRAM_FILE)), artifact.scheme)


def _on_integers(module: nn.Module, scheme: QuantScheme | None) -> IntegerProgram | None:
    if scheme is None or scheme.bias != "int32":
        return None
    assert isinstance(module, fx.GraphModule)
    whole_numbers = "average_pool" in scheme.placement.same_scale  # TFLite's way
    return IntegerProgram(module, whole_numbers=whole_numbers)


def _returned(module: fx.GraphModule) -> tuple[object, ...]:
    returned = next(node for node in module.graph.nodes if node.op == "output").args[0]
    return tuple(returned) if isinstance(returned, tuple | list) else (returned,)


def _grid(node: object, module: fx.GraphModule) -> _Grid | None:
    """The grid of the quantiser that wrote a value, or ``None`` for float."""
    if not isinstance(node, fx.Node) or node.target is not _QUANTIZE:
        return None
    scale, zero_point = (_constant(module, argument) for argument in node.args[1:3])
    return float(scale), int(zero_point)


def _constant(module: fx.GraphModule, node: object) -> Tensor:
    assert isinstance(node, fx.Node)
    owner, _, name = str(node.target).rpartition(".")
    value: Tensor = getattr(module.get_submodule(owner), name)
    return value


def answers_in_batches(
    model: Callable[..., object], samples: tuple[Tensor, ...], batch_size: int
) -> Mapping[str, Array]:
    """What a network answers to all samples, output by output, in batches of one size.

    Args:
        model: It gets one batch of each input.
        samples: One tensor for each input.
        batch_size: That the network is exported with.

    Raises:
        ExportError: It returns something else than tensors.

    Example:
        >>> answers_in_batches(lambda x: 2 * x, (torch.ones(4, 1),), 2)["output_0"].shape
        (4, 1)
    """
    results: list[dict[str, Tensor]] = []
    with torch.no_grad():
        for parts in zip(*(tensor.split(batch_size) for tensor in samples), strict=True):
            results.append(named_tensors(model(*parts)))
    return {
        name: torch.cat([result[name] for result in results]).cpu().numpy() for name in results[0]
    }


@final
class TorchRunner:
    """Opens the artefacts that :meth:`CompressedModel.save` writes."""

    format = Format("torch")
    label = "PyTorch program"

    @contextmanager
    def open(self, artifact: Artifact) -> Iterator[Session]:
        """Load the program; neither the user's classes nor a pickle are needed.

        Raises:
            ArtifactError: The program is damaged, holds what must not be loaded, or cannot be
                run on what the manifest says.
        """
        path = artifact.file(PROGRAM_FILE)
        model = reference(path, artifact.scheme).run

        def run(*inputs: Array) -> tuple[Array, ...]:
            try:
                with torch.inference_mode():
                    result = model(*(torch.from_numpy(np.ascontiguousarray(x)) for x in inputs))
                return tuple(tensor.numpy() for tensor in named_tensors(result).values())
            except TorchedgeError:
                raise
            except Exception as error:  # torch's own have no common base
                raise _not_ours(path, error) from error

        yield run
