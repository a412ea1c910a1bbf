"""Pictures of every kind against files whose bytes are written here."""

import io

import numpy as np
import pytest
from PIL import Image

from hwnas_jax.data.own.pictures import Picture, PictureOptions, read_pictures
from hwnas_jax.errors import UserError
from tests.data.tiny_sets import encode_pgm, encode_png

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (3, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (3, 5, 3), dtype=np.uint8)


def read(*contents, check_fits=lambda nbytes: None, **options):
    pictures = [Picture(f"picture {n}", content) for n, content in enumerate(contents)]
    return read_pictures(pictures, PictureOptions(**options), check_fits)


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_grey_pictures():
    for content in (encode_png(GREY), encode_pgm(GREY)):
        result = read(content)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result[0, ..., 0], GREY)


def test_colours_and_what_makes_a_set_coloured():
    np.testing.assert_array_equal(read(encode_png(COLOUR))[0], COLOUR)
    both = read(encode_png(GREY), encode_png(COLOUR))
    np.testing.assert_array_equal(both[0], np.repeat(GREY[..., None], 3, axis=2))
    np.testing.assert_array_equal(both[1], COLOUR)
    luma = read(encode_png(COLOUR), colours="grey")[0, ..., 0]
    np.testing.assert_allclose(luma, COLOUR @ [0.299, 0.587, 0.114], atol=1)
    assert read(encode_png(GREY), colours="colour").shape == (1, 3, 5, 3)


def test_pictures_of_16_bits_keep_their_values():
    deep = RNG.integers(0, 65536, (3, 5))
    result = read(encode_png(deep, depth=16))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[0, ..., 0], deep)
    with pytest.raises(UserError, match="picture 0 has 8 bits, picture 1 has more"):
        read(encode_png(GREY), encode_png(deep, depth=16))
    with pytest.raises(UserError, match="picture 0 has more than 8 bits, and so no colours"):
        read(encode_png(deep, depth=16), colours="colour")


def test_float_pictures():
    values = RNG.standard_normal((3, 5)).astype(np.float32)
    result = read(encoded(Image.fromarray(values), "TIFF"))
    np.testing.assert_array_equal(result[0, ..., 0], values)


def test_what_is_transparent_lies_on_black():
    alpha = np.array([[0, 255, 128, 0, 255]] * 3)
    result = read(encode_png(np.dstack([COLOUR, alpha])))[0]
    np.testing.assert_allclose(result, COLOUR * (alpha / 255)[..., None], atol=1)


def test_palettes():
    grey = Image.fromarray(GREY).quantize(256)
    np.testing.assert_array_equal(
        read(encoded(grey, "PNG"))[0], np.asarray(grey.convert("RGB"))[..., :1]
    )
    colour = Image.fromarray(COLOUR).quantize(4)
    np.testing.assert_array_equal(read(encoded(colour, "GIF"))[0], colour.convert("RGB"))


def test_a_photograph_on_its_side_is_turned_upright():
    smooth = np.add.outer(np.arange(16), 6 * np.arange(24)).astype(np.uint8)
    tags = Image.Exif()
    tags[0x0112] = 6  # stored a quarter turn to the left
    content = encoded(Image.fromarray(smooth), "JPEG", exif=tags, quality=100)
    result = read(content)[0, ..., 0]
    np.testing.assert_allclose(result, np.rot90(smooth, -1), atol=3)


def test_sizes_must_agree_or_be_given():
    small, large = encode_png(GREY), encode_png(RNG.integers(0, 256, (6, 4)))
    with pytest.raises(UserError, match=r"2 sizes in all: picture 0 has 3x5 .*picture 1 has 6x4"):
        read(small, large)
    assert read(small, large, height=4, width=8).shape == (2, 4, 8, 1)
    assert read(small, height=6).shape == (1, 6, 5, 1)


def test_how_a_picture_gets_another_shape():
    halves = np.zeros((4, 8))
    halves[:, 4:] = 200
    content = encode_png(halves)
    cropped = read(content, height=4, width=4)[0, ..., 0]
    np.testing.assert_array_equal(cropped, halves[:, 2:6])
    padded = read(content, height=8, width=8, fit="pad")[0, ..., 0]
    np.testing.assert_array_equal(padded[2:6], halves)
    assert (padded[[0, 1, 6, 7]] == 0).all()
    stretched = read(content, height=4, width=4, fit="stretch")[0, ..., 0]
    assert (stretched[:, 0] == 0).all() and (stretched[:, -1] == 200).all()


def test_the_size_is_told_before_anything_is_decoded():
    told = []

    def refuse(nbytes):
        told.append(nbytes)
        raise UserError("too much")

    truncated = encode_png(COLOUR)[:60]  # its header is whole, its pixels are not
    with pytest.raises(UserError, match="too much"):
        read(truncated, encode_png(COLOUR), check_fits=refuse)
    assert told == [2 * 3 * 5 * 3]


def bomb():
    """A file of some bytes whose header stands for 4 thousand million pixels."""
    content = bytearray(encode_png(GREY))
    content[16:24] = (65_536).to_bytes(4, "big") * 2
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot read the picture picture 0: it is none of PNG, JPEG"),
        (b"GIF8 or so", "it is none of PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is none of PNG"),
        (encode_png(COLOUR)[:60], "cannot read the picture picture 0: "),
        (encode_png(GREY)[:20], "cannot read the picture picture 0: "),
        (encode_pgm(GREY)[:-3], "cannot read the picture picture 0: "),
        (bomb(), "picture 0"),
    ],
)
def test_damage_is_named(content, message):
    with pytest.raises(UserError, match=message):
        read(content)


def test_moving_pictures_are_refused():
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="it has 2 frames, and one is wanted"):
        read(content)


def test_a_missing_file_is_named(tmp_path):
    pictures = [Picture("line 3 of table.csv", tmp_path / "1.png")]
    with pytest.raises(UserError, match=r"line 3 of table.csv: there is no file .*1\.png"):
        read_pictures(pictures, PictureOptions(), lambda nbytes: None)
