"""Pictures as they come from cameras and scanners, read as a network was trained to see them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from torchedge.errors import CalibrationError, UsageError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["PICTURES", "Picture", "PixelScale", "picture_layout", "read_picture"]

Array: TypeAlias = npt.NDArray[Any]

PICTURES = frozenset(
    {
        *(".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm"),
        *(".tif", ".tiff", ".webp"),
    }
)

_EIGHT_BITS, _SIXTEEN_BITS = 255, 65535  # the largest values of a pixel
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_WIDE_FORMATS = {"PNG", "PPM"}  # older Pillows open their 16-bit pixels in the mode of 32 bits


@final
@dataclass(frozen=True, kw_only=True)
class PixelScale:
    """What pixels in [0, 1] go through before the network sees them: ``(x - mean) / std``.

    Args:
        mean: One number, or one for each channel; more than there are channels are left over.
        std: As many, none of them zero.

    Raises:
        UsageError: They are not as many, or a deviation is not above zero.

    Example:
        >>> PixelScale(mean=(0.5,), std=(0.5,)).applied(np.array([[[1.0]], [[0.0]]]))[:, 0, 0]
        array([ 1., -1.], dtype=float32)
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        fits = 0 < len(self.mean) == len(self.std) and np.isfinite([*self.mean, *self.std]).all()
        if not fits or min(self.std) <= 0:
            raise UsageError(
                f"a mean of {list(self.mean)} and a deviation of {list(self.std)}; give one number "
                "of each, or one for each channel, and deviations above zero."
            )

    @property
    def changes(self) -> bool:
        """Whether anything is subtracted or divided."""
        return any(self.mean) or any(value != 1 for value in self.std)

    def for_channels(self, channels: int) -> "PixelScale":
        """The numbers of a picture with so many channels.

        Raises:
            UsageError: There are too few.
        """
        if 1 < len(self.mean) < channels:
            raise UsageError(
                f"{len(self.mean)} means and deviations for pictures of {channels} channels; give "
                "one number, or one for each channel."
            )
        return PixelScale(mean=self.mean[:channels], std=self.std[:channels])

    def applied(self, pixels: Array) -> Array:
        """The pixels of a picture ``[channels, height, width]`` as the network sees them."""
        fitting = self.for_channels(len(pixels))
        mean, std = (
            np.asarray(values, np.float32).reshape(-1, 1, 1)
            for values in (fitting.mean, fitting.std)
        )
        return np.asarray((pixels - mean) / std, dtype=np.float32)


@final
@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that was read.

    Args:
        pixels: float32 in [0, 1], ``[channels, height, width]``.
        lost_transparency: It was transparent in places, and its pixels were taken as they lie
            under that.
    """

    pixels: Array
    lost_transparency: bool


def picture_layout(shape: tuple[int, ...]) -> tuple[int, int, int, bool] | None:
    """Channels, height and width of a sample, and whether channels come last.

    Args:
        shape: Of one sample, without the batch.

    Returns:
        ``None`` where no picture has that shape.

    Example:
        >>> picture_layout((3, 32, 48)), picture_layout((32, 48, 3)), picture_layout((40, 101, 7))
        ((3, 32, 48, False), (3, 32, 48, True), None)
    """
    if len(shape) == 2:
        return 1, *shape, False
    if len(shape) != 3:
        return None
    if shape[0] in _MODES:
        return shape[0], shape[1], shape[2], False
    return (shape[2], shape[0], shape[1], True) if shape[2] in _MODES else None


def read_picture(path: Path, *, channels: int, height: int, width: int) -> Picture:
    """One picture, upright and scaled to a size.

    It is turned as its EXIF data says. 8 bits are divided by 255, 16-bit grey by 65535. Colours
    become grey and grey becomes colours as the network takes them; CMYK and palettes are converted.
    Of an animation the first frame is read. Transparency is dropped, as ``Image.convert("RGB")``
    and so most training code does, unless the network takes it as its fourth channel.

    Args:
        path: Of the picture.
        channels: 1 grey, 3 colours, 2 or 4 those with transparency.
        height: Of the result.
        width: Of the result.

    Raises:
        CalibrationError: It cannot be read, or its pixels have no known largest value.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            _require_known_range(path, opened)
            return _read(ImageOps.exif_transpose(opened), channels, (width, height))
    except Exception as error:  # every decoder has exceptions of its own
        if isinstance(error, CalibrationError):
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0].replace(f" '{path}'", "")
        raise CalibrationError(
            f"'{path}' cannot be read as a picture ({said}); leave it out."
        ) from error


def _require_known_range(path: Path, picture: "Image.Image") -> None:
    wide = picture.mode == "I" and picture.format not in _WIDE_FORMATS
    if wide or picture.mode == "F":
        raise CalibrationError(
            f"'{path}' has 32-bit pixels, whose largest value is not known; save it with 8 or 16 "
            "bits, or as .npy with what the network sees."
        )


def _read(picture: "Image.Image", channels: int, size: tuple[int, int]) -> Picture:
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return Picture(pixels=_from_sixteen_bits(picture, channels, size), lost_transparency=False)
    converted = picture.convert(_MODES[channels]).resize(size)
    values = np.asarray(converted, dtype=np.float32).reshape(size[1], size[0], channels)
    lost = channels in {1, 3} and _is_transparent(picture)
    pixels = np.ascontiguousarray(values.transpose(2, 0, 1)) / np.float32(_EIGHT_BITS)
    return Picture(pixels=pixels, lost_transparency=lost)


def _from_sixteen_bits(picture: "Image.Image", channels: int, size: tuple[int, int]) -> Array:
    from PIL import Image

    grey = np.asarray(picture).astype(np.float32) / np.float32(_SIXTEEN_BITS)
    scaled = np.asarray(Image.fromarray(grey).resize(size), dtype=np.float32).clip(0, 1)
    colours = [scaled] * (channels if channels in {1, 3} else channels - 1)
    opaque = [] if channels in {1, 3} else [np.ones_like(scaled)]
    return np.stack([*colours, *opaque])


def _is_transparent(picture: "Image.Image") -> bool:
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return False
    lowest = picture.convert("RGBA").getchannel("A").getextrema()[0]
    return bool(lowest < _EIGHT_BITS)  # type: ignore[operator]
