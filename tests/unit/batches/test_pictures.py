import struct

import numpy as np
import pytest
from PIL import Image

from torchedge.batches.pictures import PixelScale, picture_layout, read_picture
from torchedge.errors import CalibrationError, UsageError


def read(path, channels=3, height=2, width=2):
    return read_picture(path, channels=channels, height=height, width=width)


def test_colours_are_divided_by_255_and_come_with_channels_first(tmp_path):
    Image.new("RGB", (5, 4), (255, 0, 51)).save(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png").pixels
    assert pixels.dtype == np.float32
    assert pixels[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])


def test_a_picture_is_turned_as_its_exif_data_says(tmp_path):
    picture = Image.new("L", (8, 8), 0)
    picture.paste(255, (0, 0, 8, 4))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: white comes to the right
    picture.save(tmp_path / "a.png", exif=exif)
    (upright,) = read(tmp_path / "a.png", 1, 8, 8).pixels
    assert (upright[:, 7].min(), upright[:, 0].max()) == (1, 0)


def test_sixteen_bit_grey_is_divided_by_65535(tmp_path):
    values = np.full((3, 3), 32768, np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values).save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        pixels = read(tmp_path / name).pixels
        np.testing.assert_allclose(pixels, np.full((3, 2, 2), 32768 / 65535), rtol=1e-6)


def test_sixteen_bit_grey_of_a_pgm_file_is_divided_by_65535(tmp_path):
    header = b"P5 2 2 65535\n"
    (tmp_path / "a.pgm").write_bytes(header + struct.pack(">4H", 65535, 0, 65535, 0))
    assert read(tmp_path / "a.pgm", 1).pixels[0].tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGB", "YCbCr"])
def test_white_is_one_in_every_mode(tmp_path, mode):
    Image.new("RGB", (3, 3), (255, 255, 255)).convert(mode).save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif").pixels == pytest.approx(np.ones((3, 2, 2)), abs=0.01)


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("L", (3, 3), value) for value in (255, 0)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read(tmp_path / "a.gif", 1).pixels.min() == 1


@pytest.mark.parametrize(("alpha", "lost"), [(0, True), (254, True), (255, False)])
def test_transparency_is_dropped_and_noted_where_there_is_any(tmp_path, alpha, lost):
    Image.new("RGBA", (3, 3), (255, 0, 0, alpha)).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    assert found.pixels[:, 0, 0].tolist() == [1, 0, 0]
    assert found.lost_transparency is lost


def test_a_transparent_colour_of_a_palette_is_transparency(tmp_path):
    Image.new("P", (3, 3), 0).save(tmp_path / "a.png", transparency=0)
    assert read(tmp_path / "a.png").lost_transparency


def test_a_network_of_four_channels_gets_the_transparency(tmp_path):
    Image.new("RGBA", (3, 3), (255, 0, 0, 51)).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png", 4)
    assert found.pixels[:, 0, 0].tolist() == pytest.approx([1, 0, 0, 0.2])
    assert not found.lost_transparency


def test_a_broken_a_cut_and_a_32_bit_picture_are_refused_by_name(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (64, 64), (1, 2, 3)).save(tmp_path / "whole.bmp")
    cut = (tmp_path / "whole.bmp").read_bytes()[:200]
    (tmp_path / "cut.bmp").write_bytes(cut)
    Image.fromarray(np.zeros((3, 3), np.float32)).save(tmp_path / "float.tif")
    for name, said in (("broken", "identify"), ("cut", "truncated"), ("float", "32-bit pixels")):
        (path,) = tmp_path.glob(f"{name}.*")
        with pytest.raises(CalibrationError, match=said) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_layouts_are_told_by_the_number_of_channels():
    assert picture_layout((1, 28, 28)) == (1, 28, 28, False)
    assert picture_layout((28, 28, 1)) == (1, 28, 28, True)
    assert picture_layout((28, 30)) == (1, 28, 30, False)
    assert picture_layout((9, 28, 28)) is None
    assert picture_layout((10,)) is None


@pytest.mark.parametrize(
    "numbers",
    [
        {"std": (0.0,)},
        {"mean": (0.0, 0.0)},
        {"mean": (), "std": ()},
        {"mean": (float("nan"),)},
        {"mean": (0.0,) * 3, "std": (1.0, -1.0, 1.0)},
    ],
)
def test_numbers_that_normalise_nothing_are_refused(numbers):
    with pytest.raises(UsageError, match="deviations above zero"):
        PixelScale(**numbers)


def test_two_means_for_three_channels_are_refused():
    with pytest.raises(UsageError, match="2 means and deviations for pictures of 3 channels"):
        PixelScale(mean=(0.0, 0.0), std=(1.0, 1.0)).for_channels(3)
