"""Image classification sets of TensorFlow Datasets, read without TensorFlow.

Legend: `N` images, `H, W, C` image height, width, channels.
"""

import contextlib
import dataclasses
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Lt

from hwnas_jax.data.base import SOURCES, Source
from hwnas_jax.data.dataset import Dataset
from hwnas_jax.data.pipeline import holdout
from hwnas_jax.errors import UserError, nearest
from hwnas_jax.files.json_files import read_json

FILE_FORMAT = "array_record"
_CHUNK = 1024
_SEED = 0


@contextlib.contextmanager
def quiet(*, progress: bool = False) -> Iterator[None]:
    """Silences what TFDS prints, logs and warns of; its progress bars too, unless `progress`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets as tfds
        from absl import logging

        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)
        tfds.display_progress_bar(enable=progress)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            tfds.display_progress_bar(enable=True)
            logging.set_verbosity(verbosity)


@SOURCES.add
@dataclasses.dataclass(frozen=True)
class Tfds(Source):
    """A set of labelled images of one size, prepared first when it is not on disk.

    The test set is the split `test`; without one it is the split `validation`; without either a
    share of `train` is held out.
    """

    name = "tfds"
    summary = "image classification sets of TensorFlow Datasets; their names can be given directly"
    fits = "a folder of TFDS data sets, or of one prepared version"

    dataset: str
    """the TFDS name, with `/config` and `:version` if wanted"""
    path: str | None = None
    """the TFDS data folder, or the folder of one prepared version; None takes that of TFDS"""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share held out from `train` where there is no other split"""

    @classmethod
    def holds(cls, path: Path) -> bool:
        """Returns whether there are prepared sets in a folder."""
        return bool(prepared_names(path))

    def load(self) -> Dataset:
        """Returns the images and labels.

        Raises:
          UserError: when the name is unknown, the set cannot be prepared or read, or is not one of
            labelled images of one size.
        """
        with quiet():
            builder = _find(
                self.dataset, None if self.path is None else Path(self.path).expanduser()
            )
            _keys(builder, self.dataset)
        if not Path(builder.data_path).exists():
            _prepare(self.dataset, builder)
        return read_builder(builder, self.dataset, test_fraction=self.test_fraction)


def prepared_names(path: Path) -> list[str]:
    """Returns the names of the prepared sets of a folder, or of the version that it is."""
    levels = ("", "*/", "*/*/", "*/*/*/")  # a version; of a set; of its configurations
    found = (file for level in levels for file in path.glob(f"{level}dataset_info.json"))
    # Other libraries call a file so, too, but have none of features beside it.
    names = {_name_in(file) for file in found if file.with_name("features.json").is_file()}
    return sorted(name for name in names if name is not None)


def _name_in(file: Path) -> str | None:
    name = None
    with contextlib.suppress(UserError):
        content = read_json(file, "description of a data set")
        name = content.get("name") if isinstance(content, dict) else None
    return name if isinstance(name, str) else None


def read_builder(builder: Any, name: str, *, test_fraction: float) -> Dataset:
    """Reads the prepared `tfds.core.DatasetBuilder` into memory; see `Tfds`."""
    with quiet():
        image_key, label_key = _keys(builder, name)
        try:
            train_inputs, train_targets = _read(builder, name, "train", image_key, label_key)
            other = next((s for s in ("test", "validation") if s in builder.info.splits), None)
            if other:
                test_inputs, test_targets = _read(builder, name, other, image_key, label_key)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"cannot read TFDS data set {name} from {builder.data_path}: {one_line(error)}"
            ) from error
    if not other:
        kept, held_out = holdout(train_targets, test_fraction, _SEED)
        test_inputs, test_targets = train_inputs[held_out], train_targets[held_out]
        train_inputs, train_targets = train_inputs[kept], train_targets[kept]
    names = getattr(builder.info.features[label_key], "names", None)
    if names is None:
        names = map(str, range(1 + max(train_targets.max(), test_targets.max())))
    return Dataset(name, train_inputs, train_targets, test_inputs, test_targets, tuple(names))


def _find(name: str, folder: Path | None) -> Any:
    import tensorflow_datasets as tfds

    try:
        if folder is not None and (folder / "dataset_info.json").is_file():
            builder = tfds.builder_from_directory(folder)
            if builder.name != re.split("[/:]", name)[0]:
                raise UserError(f"{folder} holds the TFDS data set {builder.name}, not {name}")
            return builder
        if re.match(r"\w+([/:]|$)", name):
            return tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        pass
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"cannot open TFDS data set {name!r}: {one_line(error)}") from error
    known = tfds.list_builders(with_community_datasets=False)
    others = [other for other in SOURCES.summaries() if other != Tfds.name]
    close = nearest(name, [*others, *known])
    hint = f" Did you mean {close!r}?" if close else ""
    raise UserError(
        f"unknown data set {name!r}: allowed are {', '.join(others)}, {len(known)} TFDS names, "
        f"what is prepared under data.path, and a class of your own (my_data.py:MyData).{hint}"
    )


def _prepare(name: str, builder: Any) -> None:
    import tensorflow_datasets as tfds

    settings = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with quiet(progress=True):
            builder.download_and_prepare(file_format=FILE_FORMAT, download_config=settings)
    except Exception as error:
        raise UserError(
            f"TFDS data set {name} is not prepared in {builder.data_path}, and preparing it "
            f"failed: {one_line(error)}. What helps: a network connection; "
            "`pip install tensorflow importlib_resources`, which many sets need to be prepared "
            "(not to be read); `--data.path FOLDER` with the set prepared elsewhere by "
            f"`tfds build {name} --file_format={FILE_FORMAT}`; or a folder of idx files with "
            "`--data.name idx --data.path FOLDER`"
        ) from error


def _keys(builder: Any, name: str) -> tuple[str, str]:
    """Returns the keys of the image and of the label."""
    import tensorflow_datasets as tfds

    def is_image(feature):
        return (
            isinstance(feature, (tfds.features.Image, tfds.features.Tensor))
            and not isinstance(feature, (tfds.features.LabeledImage, tfds.features.ClassLabel))
            and len(feature.shape) == 3
            and feature.np_dtype == np.uint8
        )

    def is_number(feature):
        return (
            isinstance(feature, tfds.features.Tensor)
            and feature.shape == ()
            and np.issubdtype(feature.np_dtype, np.integer)
        )

    features = builder.info.features
    items = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    images = [key for key, feature in items.items() if is_image(feature)]
    classes = [k for k, feature in items.items() if isinstance(feature, tfds.features.ClassLabel)]
    labels = classes or [key for key, feature in items.items() if is_number(feature)]
    image_key = _pick(images, builder.info.supervised_keys, "image")
    label_key = _pick(labels, builder.info.supervised_keys, "label")
    if image_key is None or label_key is None:
        wanted = "image (uint8[H, W, C])" if image_key is None else "label (ClassLabel or integer)"
        seen = ", ".join(f"{key}: {type(f).__name__}{f.shape}" for key, f in sorted(items.items()))
        raise UserError(
            f"TFDS data set {name} is not one for image classification: no single {wanted} among "
            f"its features {seen or features!r}"
        )
    if None in items[image_key].shape:
        raise UserError(
            f"the images of TFDS data set {name} differ in size: {items[image_key].shape}; "
            "only sets with images of one size can be used"
        )
    return image_key, label_key


def _pick(candidates: list[str], supervised: Any, usual: str) -> str | None:
    preferred = [key for key in supervised or () if isinstance(key, str) and key in candidates]
    preferred += [key for key in candidates if key == usual]
    if preferred:
        return preferred[0]
    return candidates[0] if len(candidates) == 1 else None


def _read(
    builder: Any, name: str, split: str, image_key: str, label_key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `uint8[N, H, W, C]` and `int32[N]` of a split."""
    if split not in builder.info.splits:
        known = ", ".join(builder.info.splits)
        raise UserError(f"TFDS data set {name} has no split {split!r}; it has {known}")
    source = builder.as_data_source(split=split)
    images = np.empty((len(source), *builder.info.features[image_key].shape), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in range(0, len(source), _CHUNK):
        chunk = range(start, min(start + _CHUNK, len(source)))
        for index, example in zip(chunk, source.__getitems__(list(chunk)), strict=True):
            images[index] = example[image_key]
            labels[index] = example[label_key]
    return images, labels


def one_line(error: Exception) -> str:
    """Returns the type and the last line of an error: TFDS puts the cause last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].rstrip('.') if lines else 'no message'}"
