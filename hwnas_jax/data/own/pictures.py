"""Picture files as one array: headers are read first, and nothing too large is decoded.

Legend: `N` pictures, `H, W, C` height, width, channels.
"""

import collections
import contextlib
import dataclasses
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Gt

from hwnas_jax.errors import UserError, shortened

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
)
"""Endings of files that are taken for pictures."""

# No others: some formats of Pillow run other programs.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_MOST_PIXELS = 2**26
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
_TYPES = {"L": "uint8", "RGB": "uint8", "F": "float32"}
_DEEP = frozenset(("I", "F", "I;16", "I;16L", "I;16B", "I;16N"))
_GREY = frozenset(("1", "L", "LA", "La"))

Fit = Literal["crop", "pad", "stretch"]
Colours = Literal["grey", "colour"]


class Picture(NamedTuple):
    """A picture that is not read yet.

    Attributes:
      place: what messages call it.
      content: its file, or the bytes of one.
    """

    place: str
    content: Path | bytes


class _Header(NamedTuple):
    width: int
    height: int
    deep: bool
    grey: bool


@dataclasses.dataclass(frozen=True)
class PictureOptions:
    """Size and colours of pictures.

    Attributes:
      height: of all; None takes their own, which must then be one size.
      width: likewise.
      fit: how a picture gets another shape.
      colours: of all; None takes colour where any picture has it.
    """

    height: Annotated[int, Gt(0)] | None = None
    width: Annotated[int, Gt(0)] | None = None
    fit: Fit = "crop"
    colours: Colours | None = None


def read_pictures(
    pictures: Sequence[Picture], options: PictureOptions, check_fits: Callable[[int], None]
) -> np.ndarray:
    """Returns pictures as `uint8[N, H, W, C]`, or as `float32[N, H, W, 1]` where they are deep.

    Deep are grey pictures of more than 8 bits; their values are kept. Of colours there are always
    8 bits. What is transparent is laid on black, and pictures that a camera stored on their side
    are turned upright.

    Args:
      pictures: at least one.
      options: their size and colours.
      check_fits: is told the bytes that they will take, and raises where that is too much.

    Raises:
      UserError: when a picture is damaged, has several frames, or differs from the others in what
        the options do not settle; names it.
    """
    headers = [_with(picture, _header) for picture in pictures]
    height, width = _size(pictures, headers, options)
    deep = {header.deep for header in headers}
    if len(deep) > 1:
        one, other = (
            pictures[[header.deep for header in headers].index(value)].place for value in (0, 1)
        )
        raise UserError(f"pictures differ in depth: {one} has 8 bits, {other} has more")
    grey = all(header.grey for header in headers)
    if options.colours is not None:
        grey = options.colours == "grey"
    if deep == {True} and not grey:
        raise UserError(f"{pictures[0].place} has more than 8 bits, and so no colours")
    mode = "F" if deep == {True} else "L" if grey else "RGB"
    kind, channels = np.dtype(_TYPES[mode]), 3 if mode == "RGB" else 1
    shape = (len(pictures), height, width, channels)
    check_fits(int(np.prod(shape, dtype=np.int64)) * kind.itemsize)
    array: np.ndarray = np.empty(shape, kind)
    for number, picture in enumerate(pictures):
        array[number] = _with(
            picture, lambda image: _pixels(image, mode, (width, height), options.fit)
        ).reshape(shape[1:])
    return array


def _size(
    pictures: Sequence[Picture], headers: Sequence[_Header], options: PictureOptions
) -> tuple[int, int]:
    """Returns height and width of all pictures."""
    if options.height is not None and options.width is not None:
        return options.height, options.width
    sizes = collections.Counter((header.height, header.width) for header in headers)
    ((height, width), _), *others = sizes.most_common()
    if others:
        other = others[0][0]
        numbers = [(header.height, header.width) for header in headers]
        one, two = (pictures[numbers.index(size)].place for size in ((height, width), other))
        raise UserError(
            f"pictures differ in size, {len(sizes)} sizes in all: {one} has {height}x{width} "
            f"pixels (height x width), {two} has {other[0]}x{other[1]}; say which with "
            f"--data.args height {height} width {width}"
        )
    return options.height or height, options.width or width


def _with(picture: Picture, use: Callable[[Any], Any]) -> Any:
    """Returns `use(image)`, with every error of reading as one message."""
    with _opened(picture) as image:
        if image.width * image.height > _MOST_PIXELS:
            raise UserError(
                f"{picture.place} has {image.height}x{image.width} pixels, more than "
                f"{_MOST_PIXELS:,} in all"
            )
        return use(image)


@contextlib.contextmanager
def _opened(picture: Picture) -> Iterator[Any]:
    from PIL import Image

    content = picture.content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its size, which is checked here, and of odd tags
            source = io.BytesIO(content) if isinstance(content, bytes) else content
            with Image.open(source, formats=_FORMATS) as image:
                yield image
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{picture.place}: there is no file {content!s}") from error
    except Exception as error:  # Pillow raises what its decoders raise
        said = error.strerror if isinstance(error, OSError) else None
        reason = shortened((said or str(error)).strip().partition("\n")[0])
        if type(error).__name__ == "UnidentifiedImageError":
            reason = f"it is none of {', '.join(_FORMATS)}"
        raise UserError(f"cannot read the picture {picture.place}: {reason}") from error


def _header(image: Any) -> _Header:
    # Phones put a small second view into their JPEG files; the first is the photograph.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise ValueError(f"it has {frames} frames, and one is wanted")
    width, height = image.size
    if _from_camera(image) and image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
        width, height = height, width
    return _Header(width, height, image.mode in _DEEP, image.mode in _GREY | _DEEP | _grey(image))


def _from_camera(image: Any) -> bool:
    """Returns whether the format has an orientation that its header tells."""
    return image.format in {"JPEG", "MPO", "TIFF", "WEBP"}


def _grey(image: Any) -> frozenset[str]:
    """Returns the picture's mode when it has a palette of greys."""
    if image.mode != "P":
        return frozenset()
    palette = np.array(image.getpalette("RGB"), int).reshape(-1, 3)
    return frozenset("P") if (palette == palette[:, :1]).all() else frozenset()


def _pixels(image: Any, mode: str, size: tuple[int, int], fit: Fit) -> np.ndarray:
    from PIL import Image, ImageOps

    if _from_camera(image):
        image = ImageOps.exif_transpose(image)
    if mode == "F":
        image = Image.fromarray(np.asarray(image).astype(np.float32))
    else:
        if image.has_transparency_data:
            over = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), over)
        # Straight from a palette to grey would round twice.
        image = image.convert("RGB") if image.mode not in {"1", "L"} else image
        image = image.convert(mode)
    if image.size != size:
        how = Image.Resampling.BILINEAR
        if fit == "stretch":
            image = image.resize(size, how)
        else:
            image = (ImageOps.fit if fit == "crop" else ImageOps.pad)(image, size, how)
    return np.asarray(image)
