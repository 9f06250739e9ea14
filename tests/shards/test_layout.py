"""Names, JSON with checksums, and atomic files."""

import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import layout
from shards.errors import ShardError
from shards.tar import Writer, header, walk

text = st.text('ab"\\\n é\u2028\U0001f30c', max_size=4)
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["a", "b", "self_checksum of mine"]), json_values))
def test_checksummed_json_is_read_back(tmp_path_factory, body):
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_bytes(layout.checksummed_json("plan", body))
    head = {"format": layout.FORMAT, "version": layout.FORMAT_VERSION, "kind": "plan"}
    assert layout.read_checksummed_json(path, "plan", "") == {**head, **body}


def test_a_flipped_bit_in_any_byte_of_checksummed_json_is_detected(tmp_path):
    path = tmp_path / "x.json"
    data = layout.checksummed_json("plan", {"x": [1.5, -2, None, True, "é\n"], "y": {"a": {}}})
    for place in range(len(data)):
        for bit in (0, 3, 6):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(ShardError):
                layout.read_checksummed_json(path, "plan", "")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "NaN", '{"a": 1e999}', '{"a": "\\ud800"}', "[" * 100_000])
def test_other_content_is_refused_with_a_message_of_one_line(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ShardError) as caught:
        layout.read_checksummed_json(path, "plan", "")
    assert "\n" not in caught.value.message


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    (tmp_path / "x").write_text("old")
    with pytest.raises(RuntimeError), layout.atomic_file(tmp_path / "x") as file:
        file.write(b"new")
        raise RuntimeError
    assert (tmp_path / "x").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_link_is_replaced_and_its_target_is_not_changed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "x").symlink_to(tmp_path / "precious")
    layout.write_atomic(tmp_path / "x", b"new")
    assert (tmp_path / "precious").read_text() == "mine" and not (tmp_path / "x").is_symlink()


def test_tarfile_reads_a_tar_of_this_writer(tmp_path):
    with (tmp_path / "a.tar").open("wb") as file:
        writer = Writer(file)
        offsets = [writer.add(name, data) for name, data in (("a.npy", b"x" * 700), ("b.npy", b""), ("c.npy", b"y"))]
        writer.close()
    assert (tmp_path / "a.tar").stat().st_size % 10_240 == 0
    with tarfile.open(tmp_path / "a.tar") as archive:
        members = archive.getmembers()
    places = [("a.npy", 700, offsets[0]), ("b.npy", 0, offsets[1]), ("c.npy", 1, offsets[2])]
    assert [(m.name, m.size, m.offset_data) for m in members] == places
    assert all(m.mtime == m.uid == 0 for m in members)
    assert [(m.name, m.size, m.offset) for m in walk(tmp_path / "a.tar")] == places
    assert len(header("k" * layout.LONGEST_KEY + ".observation.f16.npy", 2**32)) == 512


def test_no_link_in_the_place_of_a_temporary_file_is_followed(tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.write_bytes(b"of another user")
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)  # the link comes back after its removal
    layout.temporary_name(tmp_path / "new").symlink_to(other)
    with pytest.raises(FileExistsError):
        layout.write_atomic(tmp_path / "new", b"data")
    assert other.read_bytes() == b"of another user"
