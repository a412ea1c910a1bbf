"""What sources of picture files share: the options of size and colours."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Gt

from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.own.parts import Meaning, Raw, make_dataset
from hwnas_jax.data.own.pictures import (
    Colours,
    Fit,
    Picture,
    PictureOptions,
    read_pictures,
)
from hwnas_jax.data.own.source import FileSource


class PicturePart(NamedTuple):
    """The pictures of one part.

    Attributes:
      pictures: `N` of them.
      targets: of each, as `Raw.targets`.
    """

    pictures: Sequence[Picture]
    targets: np.ndarray


@dataclasses.dataclass(frozen=True)
class PictureSource(FileSource):
    """Reads picture files: PNG, JPEG, BMP, GIF, WebP, TIFF, PPM."""

    height: Annotated[int, Gt(0)] | None = None
    """of the images in pixels; None takes that of the pictures, where all have one size"""
    width: Annotated[int, Gt(0)] | None = None
    """likewise"""
    fit: Fit = "crop"
    """how a picture gets another shape: crop scales it and cuts what juts out, pad scales it and
    adds black, stretch scales height and width apart"""
    colours: Colours | None = None
    """grey or colour; None takes colour where any picture has it"""

    def dataset_of(
        self,
        path: Path,
        parts: Mapping[str, PicturePart],
        *,
        meaning: Meaning | None = None,
        notes: Sequence[str] = (),
    ) -> Dataset:
        """Returns the data set of pictures; all parts get one size and the same colours."""
        options = PictureOptions(self.height, self.width, self.fit, self.colours)
        pictures = [picture for part in parts.values() for picture in part.pictures]
        images = read_pictures(
            pictures, options, lambda nbytes: self.check_fits(nbytes, f"what {path} holds")
        )
        raw, start = {}, 0
        for name, part in parts.items():
            end = start + len(part.pictures)
            places = [picture.place for picture in part.pictures]
            raw[name] = Raw(images[start:end], part.targets, places)
            start = end
        meaning = dataclasses.replace(meaning or self.meaning, layout="NHWC")
        return make_dataset(self.called(path), raw, meaning, where=str(path), notes=notes)
