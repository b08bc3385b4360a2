"""Places on the local disk, whose names are taken literally, and what is made of URIs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from zipspark.errors import InputError
from zipspark.storage.places import Place

ODD_NAMES = ["a b", "ü 😀", "50%", "a%20b", "a[1]", "a*b?", "{x,y}", "q'\"q", "a:b", "back\\slash", "x=1", "#&+;"]


@pytest.mark.parametrize(
    ("given", "uri", "path"),
    [
        ("/data/out", "file:/data/out", "/data/out"),
        ("/data/../data/out/", "file:/data/out", "/data/out"),
        ("file:/data/out", "file:/data/out", "/data/out"),
        ("FILE:///data/a%20b", "file:/data/a%20b", "/data/a%20b"),
        ("dbfs:/Volumes/main/s/v/out", "/Volumes/main/s/v/out", "/Volumes/main/s/v/out"),
        ("dbfs:///Volumes/main/s/v/out", "/Volumes/main/s/v/out", "/Volumes/main/s/v/out"),
        ("gs://bucket/a b/50%/", "gs://bucket/a b/50%", "bucket/a b/50%"),
        ("gs://bucket", "gs://bucket", "bucket"),
    ],
)
def test_parse(given, uri, path):
    place = Place.parse(given)
    assert (place.uri, place.path) == (uri, path)


def test_a_relative_path_is_below_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Place.parse("a:b").path == f"{tmp_path}/a:b"


@pytest.mark.parametrize(("uri", "renames"), [("/x", True), ("dbfs:/Volumes/x/y", False), ("gs://bucket/x", False)])
def test_renames_only_where_a_folder_is_moved_in_one_step(uri, renames):
    assert Place.parse(uri).renames is renames


@pytest.mark.parametrize("uri", ["foo://user:secret@host/x", "dbfs:/tmp/x", "hdfs://user:secret@nowhere:1/x"])
def test_a_store_that_cannot_be_used_is_an_input_error(uri):
    with pytest.raises(InputError) as error:
        Place.parse(uri)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("place", "parent", "name"),
    [("/a/b", "/a", "b"), ("/a", "/", "a"), ("/", "/", ""), ("gs://b/x/y", "gs://b/x", "y"), ("gs://b", "gs://b", "b")],
)
def test_parent_and_name(place, parent, name):
    assert (Place.parse(place).parent, Place.parse(place).name) == (Place.parse(parent), name)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_files_and_folders(tmp_path, name):
    place = Place.parse(tmp_path / name)
    assert place == Place.parse(tmp_path).child(name)
    assert not place.exists()
    assert place.list() == []
    place.delete()

    place.child("deep").make_dir()
    place.child(".text").write_text("ä\n")
    assert place.is_dir()
    assert (tmp_path / name / ".text").read_text("utf-8") == place.child(".text").read_text() == "ä\n"
    assert [child.name for child in place.list()] == [".text", "deep"]
    assert not place.child(".text").is_dir()

    other = Place.parse(tmp_path).child("other")
    place.copy_into(other)
    assert other.child(".text").read_text() == "ä\n"
    other.delete()
    place.rename(other)
    assert not place.exists()
    assert other.child("deep").is_dir()
    with pytest.raises(FileNotFoundError):
        place.read_text()
    other.delete()
    assert not other.exists()


def test_a_folder_is_not_renamed_onto_a_full_one(tmp_path):
    for name in "ab":
        Place.parse(tmp_path / name / "x").make_dir()
    with pytest.raises(OSError, match="not empty"):
        Place.parse(tmp_path / "a").rename(Place.parse(tmp_path / "b"))


def test_check_writable_leaves_nothing(tmp_path):
    Place.parse(tmp_path / "new" / "deep" / "out").check_writable()
    assert list(tmp_path.iterdir()) == []


def test_below_a_file_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="/file is a file, not a folder"):
        Place.parse(tmp_path / "file" / "deep" / "out").check_writable()


def test_what_the_system_refuses_is_said_in_its_words():
    with pytest.raises(InputError, match=r"/proc/out/x cannot be written: .+ in /proc"):
        Place.parse("/proc/out/x").check_writable()


WITHOUT_ROOT = """
import os, sys
from zipspark.storage.places import Place
place = Place.parse(sys.argv[1])
if os.getuid() == 0:  # root may write anywhere
    os.setuid(65534)
place.check_writable()
"""


def test_a_folder_without_permission():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        os.chmod(folder, 0o555)
        done = subprocess.run([sys.executable, "-c", WITHOUT_ROOT, f"{folder}/out"], capture_output=True, text=True)
        os.chmod(folder, 0o755)
    assert done.stderr.splitlines()[-1].endswith(f"{folder}/out cannot be written: Permission denied in {folder}")
