import json
import os

import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import load_or_offer, read_json, write_json


def read(path):
    return read_json(path, "thing", file_format="a.thing", version=2)


def write_good(path, number=0):
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"format": "a.thing", "version": 2, "number": number})


def test_write_read_round_trip(tmp_path):
    path = tmp_path / "thing.json"
    write_good(path, 7)
    assert read(path)["number"] == 7
    assert [p.name for p in tmp_path.iterdir()] == ["thing.json"]


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "thing.json"
    write_good(path, 7)
    with pytest.raises(TypeError):
        write_json(path, {"number": object()})
    assert read(path)["number"] == 7


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "damaged"),
        (b'{"format": "a.th', "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[]", "no thing: its format is not 'a.thing'"),
        (b"{}", "no thing: its format is not 'a.thing'"),
        (b'{"format": "a.thing", "version": 3}', "version 3; known is 2"),
    ],
)
def test_what_is_wrong_is_said_and_the_file_named(tmp_path, content, problem):
    path = tmp_path / "thing.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_absent_file_and_folder(tmp_path):
    with pytest.raises(UserError, match=r"no thing .*missing\.json"):
        read(tmp_path / "missing.json")
    with pytest.raises(UserError, match=r"cannot read the thing .*: Is a directory"):
        read(tmp_path)


def test_newest_good_neighbour_is_offered(tmp_path):
    for age, name in enumerate(("new_but_damaged", "newest_good", "older_good")):
        path = tmp_path / name / "thing.json"
        write_good(path)
        os.utime(path, (1e9 - age, 1e9 - age))
    (tmp_path / "new_but_damaged" / "thing.json").write_text("{")
    damaged = tmp_path / "mine" / "thing.json"
    damaged.parent.mkdir()
    damaged.write_text("")
    with pytest.raises(UserError) as caught:
        load_or_offer(damaged, read)
    message = str(caught.value)
    assert f"the thing {damaged} is damaged" in message
    assert message.endswith(f". The newest good one is {tmp_path}/newest_good/thing.json")


def test_without_a_good_neighbour_the_error_stands_alone(tmp_path):
    path = tmp_path / "mine" / "thing[1].json"
    path.parent.mkdir()
    path.write_text("{")
    write_good(tmp_path / "other" / "thing1.json")
    with pytest.raises(UserError) as caught:
        load_or_offer(path, read)
    assert "newest" not in str(caught.value)


def test_good_file_is_loaded(tmp_path):
    path = tmp_path / "thing.json"
    path.write_text(json.dumps({"format": "a.thing", "version": 2}))
    assert load_or_offer(path, read)["version"] == 2
