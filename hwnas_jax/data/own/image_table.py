"""A table of picture files and what they show, as CSV.

image,label,split
pictures/1.png,cat,train
pictures/2.png,dog,test
"""

import csv
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hwnas_jax.data.base import SOURCES
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.own.picture_source import PicturePart, PictureSource
from hwnas_jax.data.own.pictures import Picture
from hwnas_jax.data.own.roles import part_of
from hwnas_jax.data.own.source import entries, listed
from hwnas_jax.errors import UserError, choose, shortened, shown
from hwnas_jax.errors import listed as names_of

_IMAGE = ("image", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path")
_LABEL = ("label", "class", "target", "category", "class_name", "y", "value")
_SPLIT = ("split", "part", "subset")
_ENDINGS = {".csv": ",", ".tsv": "\t"}

# Python takes more for numbers: digits of other scripts, and 1_000.
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_FLOAT = re.compile(
    r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE
)


class _Row(NamedTuple):
    line: int
    image: str
    labels: list[str]
    part: str | None


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class ImageTable(PictureSource):
    """A `.csv` or `.tsv` file with a column of picture files and one or more of targets.

    Files are named from the folder of the table. A further column may say which part a picture
    belongs to: `train`, `val` or `test`. A folder that holds `train.csv`, and perhaps `test.csv`
    and `val.csv`, is read as one data set.

    One column of targets holds class names, class numbers, or values with a decimal point. Several
    are values, or labels where all of them are zeros and ones.
    """

    name = "image_table"
    summary = "a .csv of picture files with their labels or values; needs data.path"
    fits = "a .csv or .tsv file with a line for each picture, or a folder with train.csv"

    image: str | None = None
    """column of the picture files; None looks for image, path, file, filename and the like"""
    label: str | None = None
    """column of the targets, or several with commas between; None looks for label, class, target
    and the like"""
    split: str | None = None
    """column that says train, val or test; None looks for split, part and the like"""

    @classmethod
    def holds(cls, path: Path) -> bool:
        """Returns whether it is a file with that ending, or a folder with such a train file."""
        if path.is_dir():
            return any(_part_of_file(entry) == "train" for entry in entries(path))
        return path.suffix.lower() in _ENDINGS

    def read(self, path: Path) -> Dataset:
        """Returns the data set; errors as of the contract."""
        tables: list[tuple[Path, str | None]] = []
        if path.is_dir():
            files = {entry: _part_of_file(entry) for entry in entries(path)}
            tables += [(file, part) for file, part in files.items() if part is not None]
            if not tables:
                raise UserError(f"{path} has no train.csv; it holds {listed(files)}")
        else:
            tables = [(path, None)]
        rows: dict[str, list[tuple[Path, _Row]]] = {}
        names: dict[Path, list[str]] = {}
        for file, of_file in tables:
            names[file], found = self._rows(file)
            for row in found:
                part = of_file or row.part or "train"
                rows.setdefault(part, []).append((file, row))
        outputs, *others = names.values()
        if any(other != outputs for other in others):
            raise UserError(f"{path}: the tables have different columns of targets")
        # All parts are read alike: a number in one of them may be a name in another.
        labels = _targets([row.labels for part in rows.values() for _, row in part])
        parts, start = {}, 0
        for part, own in rows.items():
            pictures = [
                Picture(
                    f"{shortened(row.image)} (line {row.line} of {file})", file.parent / row.image
                )
                for file, row in own
            ]
            parts[part] = PicturePart(pictures, labels[start : start + len(own)])
            start += len(own)
        meaning = self.meaning
        values = labels.dtype.kind == "f" or len(outputs) > 1
        if values and not (labels.dtype.kind == "U" or self.task == "classification"):
            meaning = dataclasses.replace(meaning, names=outputs)
        return self.dataset_of(path, parts, meaning=meaning)

    def _rows(self, file: Path) -> tuple[list[str], list[_Row]]:
        """Returns the names of the columns of targets, and all rows."""
        header, lines = _read_table(file)
        image = _column(header, self.image, _IMAGE, "image", file)
        split = _column(header, self.split, _SPLIT, "split", file, needed=False)
        asked = [None] if self.label is None else [one.strip() for one in self.label.split(",")]
        labels = [_column(header, one, _LABEL, "label", file) for one in asked]
        assert image is not None
        rows = []
        for number, cells in lines:
            where = f"line {number} of {file}"
            if len(cells) != len(header):
                raise UserError(f"{where} has {len(cells)} cells, the header {len(header)}")
            part = None
            if split is not None:
                part = part_of(cells[split].strip())
                if part is None:
                    raise UserError(
                        f"{where}: {header[split]} is {shown(cells[split])}; allowed are train, "
                        "val and test"
                    )
            own = [cells[label].strip() for label in labels if label is not None]
            for label, cell in zip(labels, own, strict=True):
                if not cell:
                    raise UserError(f"{where}: {header[label or 0]} is empty")
            rows.append(_Row(number, cells[image].strip(), own, part))
        if not rows:
            raise UserError(f"{file} has no line below its header")
        return [header[label] for label in labels if label is not None], rows


def _read_table(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Returns the header, and the cells of every line that is not empty with its number."""
    delimiter = _ENDINGS.get(file.suffix.lower())
    if delimiter is None:
        raise UserError(f"{file} is no .csv or .tsv file")
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if any(cells)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} is damaged, or no table as UTF-8 text: {error}") from error
    if not lines:
        raise UserError(f"{file} is empty")
    return [cell.strip() for cell in lines[0][1]], lines[1:]


def _column(
    header: Sequence[str],
    wanted: str | None,
    usual: Sequence[str],
    option: str,
    file: Path,
    *,
    needed: bool = True,
) -> int | None:
    """Returns the number of a column; None where it is not needed and not there."""
    if wanted is not None:
        return header.index(choose(wanted, header, f"column of {file}"))
    found = [n for n, cell in enumerate(header) if cell.lower().replace(" ", "_") in usual]
    if len(found) == 1:
        return found[0]
    if not found and not needed:
        return None
    said = f"has no column {' or '.join(usual[:4])}" if not found else "has several that may be it"
    raise UserError(
        f"{file} {said}; its columns are {names_of(header)}. Name that of the {option} with "
        f"--data.args {option} COLUMN"
    )


def _targets(cells: list[list[str]]) -> np.ndarray:
    """Returns cells as whole numbers where all are, as floats where all are, or as texts."""
    texts, every = np.array(cells), [cell.strip() for row in cells for cell in row]
    if any(re.fullmatch(r"-?0\d+", cell) for cell in every):
        return texts  # a code such as 007, whose zeros belong to it
    for pattern, kind in ((_WHOLE, np.int64), (_FLOAT, np.float64)):
        if all(pattern.fullmatch(cell) for cell in every):
            return texts.astype(kind)
    return texts


def _part_of_file(entry: Path) -> str | None:
    return part_of(entry.stem) if entry.suffix.lower() in _ENDINGS else None
