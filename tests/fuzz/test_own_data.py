"""Data of one's own: folders of pictures, tables of pictures, arrays, idx files, saved sets."""

import gzip
import re
import shutil

import numpy as np
import pytest
from hypothesis import strategies as st

from hwnas_jax.data import DataConfig, load_data
from hwnas_jax.data import arrays as given_arrays
from tests.data import tiny_sets
from tests.fuzz.array_kinds import whole_dataset
from tests.fuzz.damage import damaged_bytes, damaged_header, damaged_json, odd_array
from tests.fuzz.judge import judge

_NAMES = ("a.png", "\uff10.png", "\u202egnp.png", "a b.png", "a\nb.png", "x" * 200 + ".png", ".png")


def read(path):
    data = load_data(DataConfig(path=str(path)))
    return {
        name: getattr(data, name)
        for name in ("name", "task", "output_names", "train_inputs", "train_targets",
                     "test_inputs", "test_targets", "notes")
    }  # fmt: skip


def copied_folder(tmp_path, write):
    """Returns a function that gives a fresh copy of a folder that was written once."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    write(good)

    def fresh():
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        return bad

    return good, fresh


@st.composite
def changes_of(draw, folder, damage=damaged_bytes):
    """Returns the changes of some files of a folder: (name, new content or what becomes of it)."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    changes = []
    for _ in range(draw(st.sampled_from((1, 1, 2)))):
        path = draw(st.sampled_from(files))
        how = draw(st.sampled_from(("bytes",) * 5 + ("gone", "folder", "link", "loop", "name")))
        content = draw(damage(path.read_bytes())) if how == "bytes" else None
        name = draw(st.sampled_from(_NAMES)) if how == "name" else None
        changes.append((str(path.relative_to(folder)), how, content, name))
    return changes


def make_changes(folder, changes):
    for name, how, content, other in changes:
        path = folder / name
        if not path.is_file() or path.is_symlink():
            continue
        match how:
            case "bytes":
                path.write_bytes(content)
            case "gone":
                path.unlink()
            case "folder":
                path.unlink()
                path.mkdir()
            case "link":
                path.unlink()
                path.symlink_to(folder / "nothing")
            case "loop":
                path.unlink()
                path.symlink_to(path)
            case "name":
                path.rename(path.with_name(other))


def _pictures(folder):
    tiny_sets.write_image_folder(folder, parts=("train", "test"), each=6)


def _table(folder):
    for number, image in enumerate(tiny_sets.IMAGES[:12]):
        (folder / f"{number}.png").write_bytes(tiny_sets.encode_png(image))
    rows = [f"{n}.png,{'ab'[n % 2]},{'train' if n < 8 else 'test'}" for n in range(12)]
    (folder / "set.csv").write_text("\n".join(["image,label,split", *rows]) + "\n")


def _npy(folder):
    for name, array in (
        ("x_train", tiny_sets.IMAGES[:20]), ("y_train", tiny_sets.LABELS[:20]),
        ("x_test", tiny_sets.IMAGES[20:]), ("y_test", tiny_sets.LABELS[20:]),
    ):  # fmt: skip
        np.save(folder / f"{name}.npy", array)


def _idx(folder):
    tiny_sets.write_idx_folder(folder)


def _gz(folder):
    tiny_sets.write_idx_folder(folder, ending=".gz")


@st.composite
def damaged_gz(draw, content):
    """Damages a gzip file, or what is packed in it."""
    if draw(st.booleans()):
        return gzip.compress(draw(damaged_bytes(gzip.decompress(content))))
    return draw(damaged_bytes(content))


@st.composite
def damaged_npy(draw, content):
    if draw(st.booleans()):
        return draw(damaged_header(content))
    return draw(damaged_bytes(content))


FOLDERS = {
    "image folder": (_pictures, damaged_bytes, ""), "folder of npy": (_npy, damaged_npy, ""),
    "idx": (_idx, damaged_bytes, ""), "idx gz": (_gz, damaged_gz, ""),
    "table of images": (_table, damaged_bytes, "set.csv"),
}  # fmt: skip

_IDX = {"train_inputs": "train-images", "test_inputs": "t10k-images"}
IMAGES_OF = {
    "idx": _IDX, "idx gz": _IDX,
    "folder of npy": {"train_inputs": "x_train", "test_inputs": "x_test"},
}  # fmt: skip
"""In the name of which file the inputs of a part are."""


@pytest.mark.parametrize("name", FOLDERS)
def test_a_damaged_folder_is_refused_or_read_right(tmp_path, attack, name):
    write, damage, file = FOLDERS[name]
    good, fresh = copied_folder(tmp_path, write)
    expected = read(good / file)
    whole_dataset(expected)

    def check(changes):
        folder = fresh()
        make_changes(folder, changes)

        def right(found):
            whole_dataset(found)
            if name in IMAGES_OF:
                _as_in_files(found, expected, folder, IMAGES_OF[name])

        judge(f"data: {name}", lambda: read(folder / file), right)

    attack(changes_of(good, damage), check, examples=60)


def _as_in_files(found, expected, folder, names):
    """Where sizes are those of the good set, values are the last bytes of a file."""
    for part in ("train_inputs", "test_inputs"):
        one, other = found[part], expected[part]
        files = sorted(p for p in folder.rglob("*") if p.is_file() and names[part] in p.name)
        if len(files) == 1 and one.shape == other.shape and one.dtype == other.dtype:
            content = files[0].read_bytes()
            if files[0].suffix == ".gz":
                content = gzip.decompress(content)
            values = np.frombuffer(content[-one.size :], np.uint8)
            columns = files[0].suffix == ".npy" and b"'fortran_order': True" in content
            values = values.reshape(one.shape, order="F" if columns else "C")
            np.testing.assert_array_equal(one, values, err_msg=part)


_CELLS = ("0.png", "12.png", "../0.png", "/etc/passwd", "", " ", "a\0b", "x" * 5000, "5", "1.5",
          "nan", "\uff11", "1_0", "-1", "1e999", "train", "val", '"', "a,b", "é", ".",
          "set.csv")  # fmt: skip


@st.composite
def tables(draw):
    rows = [["image", "label", "split"]]
    kind = draw(st.sampled_from(("text", "whole", "float")))
    label = {
        "text": lambda n: "ab"[n % 2], "whole": lambda n: str(n % 2),
        "float": lambda n: str(n / 4 + 0.125),
    }[kind]  # fmt: skip
    rows += [[f"{n}.png", label(n), "train" if n < 8 else "test"] for n in range(12)]
    for _ in range(draw(st.integers(0, 2))):
        row = draw(st.integers(0, 12))
        column = draw(st.integers(0, 2))
        match draw(st.sampled_from(("cell", "cell", "cell", "more", "less", "twice"))):
            case "cell":
                rows[row][min(column, len(rows[row]) - 1)] = draw(st.sampled_from(_CELLS))
            case "more":
                rows[row] = [*rows[row], "x"]
            case "less":
                rows[row] = rows[row][:column] or [""]
            case "twice":
                rows.insert(row, rows[row])
    return rows


def test_a_damaged_table_is_refused_or_read_right(tmp_path, attack):
    _table(tmp_path)
    path = tmp_path / "set.csv"

    def check(rows):
        path.write_text("\n".join(",".join(row) for row in rows) + "\n")

        def right(found):
            whole_dataset(found)
            labels = [row[1].strip() for row in rows[1:] if len(row) == 3]
            if found["task"] == "classification":
                assert set(found["output_names"]) <= {*labels, *map(_canonical, labels)}
            else:
                values = np.concatenate([found["train_targets"], found["test_targets"]]).ravel()
                assert all(re.fullmatch(r"[-+.\deE]+", label, re.ASCII) for label in labels)
                assert set(values) <= {np.float32(label) for label in labels}

        judge("data: cells of a table of images", lambda: read(path), right)

    attack(tables(), check, examples=120)


def _canonical(label):
    return str(int(label)) if re.fullmatch(r"-?\d+", label, re.ASCII) else label


@st.composite
def odd_pairs(draw):
    pair = [tiny_sets.IMAGES[:12], tiny_sets.LABELS[:12]]
    pair[draw(st.integers(0, 1))] = odd_array(draw, pair[draw(st.integers(0, 1))])
    return pair


def test_arrays_of_python(attack):
    def check(pair):
        def call():
            data = given_arrays(*pair)
            return {name: getattr(data, name) for name in (
                "task", "output_names", "train_inputs", "train_targets", "test_inputs",
                "test_targets")}  # fmt: skip

        judge("data: arrays of Python", call, whole_dataset)

    attack(odd_pairs(), check, examples=60)


def test_a_damaged_set_of_hugging_face(tmp_path, attack):
    good, fresh = copied_folder(
        tmp_path, lambda folder: tiny_sets.save_hugging_face(folder / "set")
    )
    whole_dataset(read(good / "set"))
    texts = [path for path in sorted((good / "set").glob("*.json"))]
    import json

    values = {path.name: json.loads(path.read_text()) for path in texts}

    def check(changes):
        folder = fresh()
        if isinstance(changes, tuple):
            name, content = changes
            (folder / "set" / name).write_bytes(content)
        else:
            make_changes(folder, changes)
        judge("data: Hugging Face", lambda: read(folder / "set"), whole_dataset)

    json_files = st.sampled_from(sorted(values)).flatmap(
        lambda name: st.tuples(st.just(name), damaged_json(values[name]))
    )
    attack(json_files | changes_of(good), check, examples=40)
