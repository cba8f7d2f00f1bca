"""A file is written whole or not at all."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import time

import pytest

from nmcore.errors import ArgumentError
from nmcore.utils import files
from nmcore.utils.files import atomic_write, check_writable


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    return path


def test_new_and_replaced(tmp_path, old):
    atomic_write(old, b"new")
    atomic_write(tmp_path / "other", b"")
    assert old.read_bytes() == b"new"
    assert (tmp_path / "other").read_bytes() == b""
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "other"]


@pytest.mark.parametrize("place", ["replace", "fsync", "chmod"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_crash_leaves_the_old_file_and_nothing_else(monkeypatch, old, place, error):
    def crash(*_arguments):
        raise error

    monkeypatch.setattr(files.os, place, crash)
    expected = ArgumentError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        atomic_write(old, b"new")
    if expected is ArgumentError:
        assert str(caught.value) == f"{old} cannot be written: No space left on device"
    monkeypatch.undo()
    assert old.read_bytes() == b"old"
    assert os.listdir(old.parent) == [old.name]


def test_a_disk_that_fills_up_while_writing(monkeypatch, old):
    """Half of the data is in the file when the rest fails."""
    fdopen = os.fdopen

    def half(handle, mode):
        file = fdopen(handle, mode)

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def write(self, data):
                file.write(data[: len(data) // 2])
                file.flush()
                raise OSError(28, "No space left on device")

        return Full()

    monkeypatch.setattr(files.os, "fdopen", half)
    with pytest.raises(ArgumentError, match="No space left on device"):
        atomic_write(old, b"new" * 1000)
    assert old.read_bytes() == b"old"
    assert os.listdir(old.parent) == [old.name]


def test_the_data_is_on_disk_before_the_name_is(monkeypatch, old):
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(
            files.os, name, lambda *a, f=original, n=name: (calls.append(n), f(*a))[1]
        )
    atomic_write(old, b"new")
    assert calls == ["fsync", "replace"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_permissions_are_kept(old, mode):
    old.chmod(mode)
    atomic_write(old, b"new")
    assert stat.S_IMODE(old.stat().st_mode) == mode


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_of_any_other(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        atomic_write(tmp_path / "new", b"new")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


def test_links_stay_links(tmp_path, old):
    (tmp_path / "folder").mkdir()
    link, dangling = tmp_path / "folder" / "link", tmp_path / "dangling"
    link.symlink_to("../model.onnx")
    dangling.symlink_to("folder/target")
    atomic_write(link, b"new")
    atomic_write(dangling, b"made")
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert old.read_bytes() == b"new"
    assert (tmp_path / "folder" / "target").read_bytes() == b"made"
    assert sorted(os.listdir(tmp_path / "folder")) == ["link", "target"]


def test_hard_links_keep_the_old_content(tmp_path, old):
    (tmp_path / "second").hardlink_to(old)
    atomic_write(old, b"new")
    assert (tmp_path / "second").read_bytes() == b"old"


@pytest.mark.parametrize("write", [check_writable, lambda path: atomic_write(path, b"x")])
def test_places_that_cannot_be_written_to(tmp_path, old, write):
    with pytest.raises(ArgumentError, match="is a directory; the name of a file is needed"):
        write(tmp_path)
    with pytest.raises(ArgumentError, match=r"the folder .*missing does not exist"):
        write(tmp_path / "missing" / "m.onnx")
    with pytest.raises(ArgumentError, match=r"the folder .*model\.onnx does not exist"):
        write(old / "m.onnx")
    assert os.listdir(tmp_path) == [old.name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_device_or_pipe_is_not_replaced(tmp_path):
    """Root could replace /dev/null by a model."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(ArgumentError, match="is no regular file"):
            atomic_write(path, b"new")
    assert pipe.is_fifo()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_without_permission(tmp_path, old):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ArgumentError, match="cannot be written to"):
            atomic_write(old, b"new")
    finally:
        tmp_path.chmod(0o700)
    assert old.read_bytes() == b"old"


def test_a_folder_that_refuses(monkeypatch, old):
    def refuse(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    with pytest.raises(ArgumentError, match=r"model\.onnx cannot be written: Permission denied"):
        atomic_write(old, b"new")


WRITER = """
import sys
from pathlib import Path
from nmcore.utils.files import atomic_write
path = Path(sys.argv[1])
print("ready", flush=True)
while True:
    for letter in b"ab":
        atomic_write(path, bytes([letter]) * 3_000_000)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_at_any_moment(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a" * 3_000_000)
    rng = random.Random(0)
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        try:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0.0, 0.06))
        finally:
            writer.kill()
            writer.communicate()
        content = path.read_bytes()
        assert len(content) == 3_000_000
        assert content in (b"a" * len(content), b"b" * len(content))


ABANDONER = """
import os, sys, signal
from pathlib import Path
from nmcore.utils import files
path = Path(sys.argv[1])
if sys.argv[2] == "file":
    files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    files.atomic_write(path, b"new")
with files.drafting(path) as draft:
    draft.path.write_bytes(b"new")
    (draft.folder / f"{path.name}.0123456789ab.data").write_bytes(b"data")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL, no locks")
@pytest.mark.parametrize("what", ["file", "draft"])
def test_what_a_killed_process_leaves_is_gone_after_the_next(tmp_path, old, what):
    killed = subprocess.run([sys.executable, "-c", ABANDONER, str(old), what], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert old.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2
    with files.drafting(old) as other:  # what is being written stays
        other.path.write_bytes(b"other")
        atomic_write(old, b"new")
        assert other.path.read_bytes() == b"other"
    assert os.listdir(tmp_path) == [old.name]


def test_a_draft_is_published_or_gone(tmp_path, old):
    for name in ("model.onnx.0123456789ab.data", "model.onnx.ffffffffffff.data", "mine.data"):
        (tmp_path / name).write_bytes(b"before")
    with files.drafting(old) as draft:
        draft.path.write_bytes(b"graph")
        (draft.folder / "model.onnx.aaaaaaaaaaaa.data").write_bytes(b"weights")
        assert draft.size() == len(b"graphweights")
        assert old.read_bytes() == b"old"
        draft.publish(keep=[tmp_path / "model.onnx.ffffffffffff.data"])
    assert old.read_bytes() == b"graph"
    assert sorted(os.listdir(tmp_path)) == [
        *("mine.data", "model.onnx", "model.onnx.aaaaaaaaaaaa.data"),
        "model.onnx.ffffffffffff.data",
    ]
    with files.drafting(old) as draft:
        draft.path.write_bytes(b"never")
    assert old.read_bytes() == b"graph"
    assert len(os.listdir(tmp_path)) == 4


def test_a_draft_that_goes_wrong(tmp_path, old, monkeypatch):
    with pytest.raises(ArgumentError, match=r"model\.onnx cannot be written: No space left"):
        _draft(old, lambda _: _fail(28, "No space left on device"))
    monkeypatch.setattr(files.os, "replace", lambda *_: _fail(5, "Input/output error"))
    with pytest.raises(ArgumentError, match="cannot be written: Input/output error"):
        _draft(old, lambda draft: draft.publish())
    assert os.listdir(tmp_path) == [old.name]
    assert old.read_bytes() == b"old"


def _draft(path, finish):
    with files.drafting(path) as draft:
        draft.path.write_bytes(b"new")
        finish(draft)


def _fail(number, words):
    raise OSError(number, words)


def test_a_draft_for_a_link(tmp_path, old):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "folder" / "link"
    link.symlink_to("../model.onnx")
    with files.drafting(link) as draft:
        draft.path.write_bytes(b"new")
        draft.publish()
    assert link.is_symlink()
    assert old.read_bytes() == b"new"
    assert os.listdir(tmp_path / "folder") == ["link"]
