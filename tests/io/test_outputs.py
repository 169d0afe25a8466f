import os
import socket

import pytest

from ksdiff.errors import KSDiffError
from ksdiff.io.outputs import atomic, check_output


def a_fifo(path):
    os.mkfifo(path)


def a_socket(path):
    socket.socket(socket.AF_UNIX).bind(str(path))


@pytest.mark.parametrize("make", [a_fifo, a_socket])
@pytest.mark.parametrize("linked", [False, True])
def test_only_regular_files_are_replaced(tmp_path, monkeypatch, make, linked):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    make("node.tif")
    os.symlink("node.tif", "link.tif")
    name = "link.tif" if linked else "node.tif"
    with pytest.raises(KSDiffError, match=f"out {name}: is not a regular file"):
        check_output(name, overwrite=True)
    assert sorted(os.listdir()) == ["link.tif", "node.tif"]


def test_devices_are_refused():
    with pytest.raises(KSDiffError, match="is not a regular file but a device"):
        check_output("/dev/null", overwrite=True)


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "real.txt", tmp_path / "link.txt"
    link.symlink_to("there/real.txt")
    assert check_output(link, overwrite=False) == link
    with atomic(link) as temporary:
        assert temporary.parent == target.parent  # the same disk, so that renaming is atomic
        temporary.write_text("new")
    assert link.is_symlink() and target.read_text() == "new"
    assert os.listdir(target.parent) == ["real.txt"]
    with pytest.raises(KSDiffError, match=r"link\.txt: exists already"):
        check_output(link, overwrite=False)


def test_a_link_to_a_folder_or_round_itself_is_refused(tmp_path):
    (tmp_path / "folder").symlink_to(tmp_path)
    with pytest.raises(KSDiffError, match="is a folder"):
        check_output(tmp_path / "folder", overwrite=True)
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(KSDiffError, match="round: is a symbolic link that leads to itself"):
        check_output(tmp_path / "round", overwrite=True)
