"""``torchedge calibration``: write, read, compare and convert calibration caches."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from torchedge.text import say
from torchedge_tensorrt.host_calibration import Method

if TYPE_CHECKING:
    from torchedge.bench.session import Array
    from torchedge_tensorrt.explicit import ExplicitModel

__all__ = ["calibration_app"]

calibration_app = cyclopts.App(
    name="calibration", help="Write, read, compare and convert TensorRT's calibration caches."
)


@calibration_app.command
def show(
    cache: Path,
    /,
    *,
    as_json: Annotated[bool, cyclopts.Parameter(name=["--json"], negative=())] = False,
) -> None:
    """List the tensors of a cache with their scales and ranges.

    Args:
        cache: A calibration.cache, of this package or written by TensorRT.
        as_json: Print JSON instead of text.
    """
    import json

    from torchedge_tensorrt.calibration_cache import LEVELS, read_cache, unusable_scales

    header, scales = read_cache(cache)
    if as_json:
        print(json.dumps({"header": header, "scales": scales}, indent=2))  # noqa: T201
        return
    say(f"{header}, {len(scales)} tensors")
    for name, scale in scales.items():
        say(f"{scale:<12.6g} ±{LEVELS * scale:<12.6g} {name}")
    for line in unusable_scales(scales):
        say(f"warning: {line}")


@calibration_app.command
def diff(first: Path, second: Path, /, *, at_least: float = 0.0) -> None:
    """Compare two caches tensor by tensor; ends with 1 where they differ.

    Args:
        first: A calibration cache.
        second: Another one.
        at_least: Relative difference of a scale that counts, for example 0.01.
    """
    from torchedge.errors import VerificationError
    from torchedge_tensorrt.calibration_cache import cache_differences, read_cache

    (first_header, one), (second_header, other) = read_cache(first), read_cache(second)
    lines = cache_differences(one, other, at_least=at_least)
    say(f"headers: {first_header}, {second_header}")
    for line in lines:
        say(line)
    if lines:
        raise VerificationError(f"'{first}' and '{second}' differ in {len(lines)} tensors.")
    say(f"the same scales for {len(one)} tensors")


@calibration_app.command
def convert(cache: Path, out: Path, /, *, tensorrt: str) -> None:
    """Write a cache again with the header of another TensorRT.

    Args:
        cache: A calibration cache.
        out: New file.
        tensorrt: Version, for example 10.3.0.
    """
    from torchedge.writing import staged_file
    from torchedge_tensorrt.calibration_cache import format_cache, parsed_version, read_cache

    version = parsed_version(tensorrt)
    header, scales = read_cache(cache)
    with staged_file(out) as staging:
        text = format_cache(scales, version, algorithm=header.rpartition("-")[2], zeros=True)
        staging.write_text(text, encoding="utf-8")
    say(f"wrote {out}: {header} is now TensorRT {tensorrt}, {len(scales)} tensors")


@calibration_app.command
def create(  # noqa: PLR0913 - options of a command line
    model: Path,
    data: Path,
    out: Path,
    /,
    *,
    target: str = "jetson",
    jetpack: str | None = None,
    batch_size: int | None = None,
    input_size: Annotated[tuple[str, ...], cyclopts.Parameter(negative=())] = (),
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    std: tuple[float, float, float] = (1.0, 1.0, 1.0),
    method: Method = "entropy",
    qdq: Annotated[bool, cyclopts.Parameter(negative=())] = False,
) -> None:
    """Calibrate a float ONNX file on a folder of arrays or pictures, one batch in memory at a time.

    Args:
        model: Float ONNX file.
        data: Folder of pictures, which are scaled to the input's size and divided by 255, or of
            .npy arrays, each one sample; for several inputs of .npz files, each one sample with an
            array for every input, by its name.
        out: New folder for calibration.cache and calibration.json.
        target: The board.
        jetpack: JetPack on the board; default the target's own.
        batch_size: Samples at once, where the model leaves it open; default 1.
        input_size: Sizes that the model leaves open, without the batch: 3x32x32, or NAME=3x32x32
            for each of several inputs.
        mean: Subtracted from pictures, for each channel.
        std: Then divides them.
        method: How ranges are chosen: entropy as TensorRT does, with the squared error where that
            would clip the body of the values; mse, the squared error throughout; or minmax.
        qdq: Also write model_qdq.onnx, the network with the same scales as Q/DQ pairs, and say how
            far its answers are from the model's.
    """
    from dataclasses import replace

    from torchedge.writing import require_free, staged_folder
    from torchedge_onnx.foreign_samples import samples_for
    from torchedge_onnx.foreign_sizes import inputs_of, parsed_sizes
    from torchedge_tensorrt.calibration_record import write_calibration
    from torchedge_tensorrt.commands import platform_of
    from torchedge_tensorrt.explicit import explicit_model, require_explicit
    from torchedge_tensorrt.explicit_answers import KeptBatches
    from torchedge_tensorrt.host_calibration import calibrate_onnx
    from torchedge_tensorrt.scales import float_model

    require_free(out, overwrite=False)
    platform = platform_of(target, jetpack)
    inputs = inputs_of(model, float_model(model), parsed_sizes(input_size))
    batches = samples_for(data, model, inputs, batch_size=batch_size, mean=mean, std=std)
    kept = KeptBatches(batches) if qdq else batches
    lines: list[str] = []
    with staged_folder(out, inputs=(model, data)) as folder:
        if qdq:
            require_explicit(model, platform.tensorrt)
        found = calibrate_onnx(model, kept, method=method, progress=True)
        if isinstance(kept, KeptBatches):
            shapes = {each.name: each.sizes for each in inputs}
            made = explicit_model(model, found.scales, platform.tensorrt, shapes=shapes)
            lines = _write_explicit(model, made, folder, kept.kept)
            found = replace(found, scales=made.scales)
        write_calibration(found, folder, platform.tensorrt)
    say(f"wrote {out}: {len(found.scales)} tensors from {found.samples} samples")
    for line in (*lines, *(f"warning: {note}" for note in found.notes)):
        say(line)


def _write_explicit(
    model: Path, made: "ExplicitModel", folder: Path, batches: "list[tuple[Array, ...]]"
) -> list[str]:
    """Write ``model_qdq.onnx``; what there is to say about it."""
    from torchedge_tensorrt.explicit_answers import explicit_parity, parity_lines
    from torchedge_tensorrt.step import QUANTIZED_FILE

    path = folder / QUANTIZED_FILE
    path.write_bytes(made.model.SerializeToString())
    parity = explicit_parity(model, made.plain, path, batches)
    total = made.layers + len(made.float_layers)
    lines = [f"{QUANTIZED_FILE}: {made.layers} of {total} layers quantised, all rules hold"]
    lines += [f"  '{name}' stays in float: {why}" for name, why in made.float_layers.items()]
    return [*lines, *parity_lines(parity, QUANTIZED_FILE, model.name)]
