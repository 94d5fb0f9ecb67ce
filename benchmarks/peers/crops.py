"""Real images without a download: random crops of the pictures inside two installed packages."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.peers.packages import package

__all__ = ["crops", "normalised", "pictures"]

Picture = npt.NDArray[np.uint8]

# Every colour picture of at least 160 pixels in scikit-image's wheel, in alphabetical order. They
# are named because a folder that grows would change the crops that a seed gives.
SCIKIT_IMAGE = (
    "astronaut.png",
    "chelsea.png",
    "chessboard_RGB.png",
    "coffee.png",
    "color.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "logo.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "phantom.png",
    "retina.jpg",
    "rocket.jpg",
)
SCIKIT_LEARN = ("china.jpg", "flower.jpg")
SMALLEST_SHARE = 0.35


def pictures() -> list[Picture]:
    """Height x width x RGB, as many as there are names above; transparency is dropped.

    Raises:
        MissingDependencyError: scikit-image, scikit-learn or imageio is not installed.
    """
    imread = package("imageio.v3").imread
    first = Path(package("skimage").__path__[0], "data")
    second = Path(package("sklearn.datasets").__path__[0], "images")
    paths = [first / name for name in SCIKIT_IMAGE] + [second / name for name in SCIKIT_LEARN]
    return [imread(path)[..., :3] for path in paths]


def _square(picture: Picture, random: np.random.RandomState) -> Picture:
    height, width = picture.shape[:2]
    side = int(min(height, width) * random.uniform(SMALLEST_SHARE, 1))
    top, left = random.randint(height - side + 1), random.randint(width - side + 1)
    return picture[top : top + side, left : left + side]


def _crop(picture: Picture, size: int, random: np.random.RandomState) -> Tensor:
    square = torch.from_numpy(np.ascontiguousarray(_square(picture, random)))
    image = square.permute(2, 0, 1)[None].float()
    image = functional.interpolate(image, (size, size), mode="bilinear", antialias=True)
    return image.flip(3) if random.rand() < 0.5 else image


def crops(count: int, size: int = 224, seed: int = 0) -> Tensor:
    """Random squares of random pictures, half of them mirrored: count x 3 x size x size.

    Values are those of the pixels, 0 to 255; ``seed`` alone decides which squares they are.

    Raises:
        MissingDependencyError: See :func:`pictures`.
    """
    random, sources = np.random.RandomState(seed), pictures()
    drawn = (_crop(sources[random.randint(len(sources))], size, random) for _ in range(count))
    return torch.cat(list(drawn))


def normalised(images: Tensor) -> Tensor:
    """Pixels as EfficientNet-Lite was trained on: ``(x - 127) / 128``.

    Example:
        >>> normalised(torch.tensor([127.0, 255.0])).tolist()
        [0.0, 1.0]
    """
    return (images - 127) / 128
