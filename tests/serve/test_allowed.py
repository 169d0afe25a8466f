import pytest

from ksdiff import KSDiffError
from ksdiff.serve.allowed import Allowed
from ksdiff.serve.options import ServeOptions


@pytest.fixture
def root(tmp_path):
    """A folder that is served, beside one that is not, with links from the first."""
    (tmp_path / "secret.tif").write_bytes(b"II*\0")
    (tmp_path / "rootless").mkdir()
    (tmp_path / "rootless/a.tif").write_bytes(b"II*\0")
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (root / "inside/a.tif").write_bytes(b"II*\0")
    (root / "link.tif").symlink_to(tmp_path / "secret.tif")
    (root / "folder").symlink_to(tmp_path)
    (root / "circle.tif").symlink_to(root / "circle.tif")
    (root / "near.tif").symlink_to("inside/a.tif")
    (root / "all.vrt").write_text(" <VRTDataset/>")
    return root


@pytest.mark.parametrize(
    "name", ["inside/a.tif", "inside/../inside/a.tif", "near.tif", "{}/near.tif"]
)
def test_files_under_a_root_are_taken_by_their_whole_path(root, name):
    assert Allowed([str(root)], [])("pan", name.format(root)) == str(root / "inside/a.tif")


@pytest.mark.parametrize(
    "name",
    [
        *("../secret.tif", "inside/../../secret.tif", "{}/../secret.tif", "/etc/hostname"),
        *("link.tif", "folder/secret.tif", "circle.tif", "../rootless/a.tif", "inside", "", "."),
        *("/vsicurl/http://example.org/a.tif", "/vsizip/{}/a.zip", "a\0.tif", "x" * 5000),
        *("GTIFF_DIR:1:inside/a.tif", "file://{}/inside/a.tif", "http://example.org/a.tif"),
    ],
)
def test_everything_else_is_refused(root, name):
    with pytest.raises(KSDiffError):
        Allowed([str(root)], [])("pan", name.format(root))


def test_a_file_that_names_other_files_is_refused(root):
    with pytest.raises(KSDiffError, match="description of other files"):
        Allowed([str(root)], [])("pan", "all.vrt")


HOST = "https://example.org/data"


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        (f"{HOST}/a.tif", True),
        (f"{HOST}/in%20side/a.tif?key=1", True),
        ("https://example.org/database/a.tif", False),
        ("http://example.org/data/a.tif", False),
        ("https://example.org:444/data/a.tif", False),
        ("https://a.example.org/data/a.tif", False),
        ("https://user@example.org/data/a.tif", False),
        (f"{HOST}/../a.tif", False),
        (f"{HOST}/%2e%2e/a.tif", False),
        (f"{HOST}/%252e%252e/a.tif", False),
        ("ftp://example.org/data/a.tif", False),
        ("https://[/data/a.tif", False),
    ],
)
def test_addresses_are_taken_that_begin_as_one_that_is_allowed(root, name, taken):
    allowed = Allowed([str(root)], [f"{HOST}/"])
    if taken:
        assert allowed("ms", name) == name
    else:
        with pytest.raises(KSDiffError):
            allowed("ms", name)


def test_other_machines_need_a_token(tmp_path, monkeypatch):
    monkeypatch.delenv("KSDIFF_TOKEN", raising=False)
    for host in ("127.0.0.1", "::1", "localhost"):
        ServeOptions(root=(str(tmp_path),), host=host)
    for host in ("0.0.0.0", "192.168.0.1", "::", "example.org"):
        with pytest.raises(KSDiffError, match="KSDIFF_TOKEN"):
            ServeOptions(root=(str(tmp_path),), host=host)
        ServeOptions(root=(str(tmp_path),), host=host, token="t")
    with pytest.raises(KSDiffError, match="root: name a folder"):
        ServeOptions()
