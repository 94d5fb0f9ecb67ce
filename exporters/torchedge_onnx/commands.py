"""``torchedge import-onnx``; found by an entry point."""

from pathlib import Path

from torchedge.text import for_shell, say

__all__ = ["import_onnx"]


def import_onnx(
    model: Path,
    data: Path,
    out: Path,
    /,
    *,
    batch_size: int | None = None,
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    std: tuple[float, float, float] = (1.0, 1.0, 1.0),
    overwrite: bool = False,
) -> None:
    """Make an artefact of a float ONNX file from elsewhere, which torchedge export takes.

    Targets that calibrate, such as android and arduino-nano-33-ble, then run it in int8.

    Args:
        model: Float ONNX file with one input of fixed size.
        data: Folder of .npy arrays, each one sample, or of pictures, which are scaled to the
            input's size and divided by 255. Every fourth batch is kept for checks.
        out: New folder.
        batch_size: Samples at once, where the model leaves it open.
        mean: Subtracted from pictures, for each channel; the artefact keeps it in units of a pixel.
        std: Then divides them.
        overwrite: Replace the folder if it holds nothing but what this package wrote.
    """
    from torchedge.errors import ArtifactError
    from torchedge.writing import require_free
    from torchedge_onnx import foreign
    from torchedge_onnx.sample_folder import folder_batches, folder_normalisation

    require_free(out, overwrite=overwrite, inputs=(model, data))
    if not model.is_file():
        raise ArtifactError(f"'{model}' is no file; name an ONNX file.")
    batches = folder_batches(data, model, batch_size=batch_size, mean=mean, std=std)
    artifact = foreign.import_onnx(
        model,
        batches,
        out,
        normalisation=folder_normalisation(data, model, mean=mean, std=std),
        overwrite=overwrite,
    )
    say(
        f"wrote {artifact.path}: '{artifact.name}', opset {artifact.details['opset']}; next: "
        f"torchedge export {for_shell(artifact.path)} --target android"
    )
