"""``torchedge import-onnx``; found by an entry point."""

from pathlib import Path
from typing import Annotated

import cyclopts

from torchedge.text import for_shell, say

__all__ = ["import_onnx"]


def import_onnx(  # noqa: PLR0913 - options of a command line
    model: Path,
    data: Path,
    out: Path,
    /,
    *,
    batch_size: int | None = None,
    input_size: Annotated[tuple[str, ...], cyclopts.Parameter(negative=())] = (),
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    std: tuple[float, float, float] = (1.0, 1.0, 1.0),
    overwrite: bool = False,
) -> None:
    """Make an artefact of a float ONNX file from elsewhere, which torchedge export takes.

    Targets that calibrate, such as android and arduino-nano-33-ble, then run it in int8.

    Args:
        model: Float ONNX file.
        data: Folder of pictures, which are scaled to the input's size and divided by 255, or of
            .npy arrays, each one sample; for several inputs of .npz files, each one sample with an
            array for every input, by its name. Every fourth batch is kept for checks.
        out: New folder.
        batch_size: Samples at once, where the model leaves it open.
        input_size: Sizes that the model leaves open, without the batch: 3x32x32, or NAME=3x32x32
            for each of several inputs.
        mean: Subtracted from pictures, for each channel; the artefact keeps it in units of a pixel.
        std: Then divides them.
        overwrite: Replace the folder if it holds nothing but what this package wrote.
    """
    from torchedge.writing import require_free
    from torchedge_onnx import import_model
    from torchedge_onnx.foreign_samples import normalisation_for, samples_for
    from torchedge_onnx.foreign_sizes import inputs_of, parsed_sizes

    require_free(out, overwrite=overwrite, inputs=(model, data))
    sizes = parsed_sizes(input_size)
    inputs = inputs_of(model, import_model.read_foreign(model), sizes)
    batches = samples_for(data, model, inputs, batch_size=batch_size, mean=mean, std=std)
    artifact = import_model.import_onnx(
        model,
        batches,
        out,
        normalisation=normalisation_for(data, inputs, mean=mean, std=std),
        overwrite=overwrite,
    )
    say(
        f"wrote {artifact.path}: '{artifact.name}', opset {artifact.details['opset']}; next: "
        f"torchedge export {for_shell(artifact.path)} --target android"
    )
