import json
import zipfile

import pytest

from ksdiff.errors import KSDiffError
from ksdiff.io.jobs import Job, list_jobs
from tests.support.products import landsat


def test_a_folder_is_a_list(tmp_path):
    for name in ("b_pan.tif", "b_ms.tif", "a_PAN.TIF", "a_MS.TIF"):
        (tmp_path / name).touch()
    assert list_jobs(tmp_path) == [
        Job("a", str(tmp_path / "a_PAN.TIF"), str(tmp_path / "a_MS.TIF")),
        Job("b", str(tmp_path / "b_pan.tif"), str(tmp_path / "b_ms.tif")),
    ]


def test_products_in_a_folder_are_jobs_beside_pairs(tmp_path):
    landsat(tmp_path / "b", height=20, width=20)
    with zipfile.ZipFile(tmp_path / "c.d.zip", "w") as archive:
        archive.writestr("x/DIM_PHR.XML", "broken, which counts when its turn comes")
    (tmp_path / "empty").mkdir()
    expected = [
        Job("b", product=str(tmp_path / "b")),
        Job("c.d", product=str(tmp_path / "c.d.zip")),
    ]
    assert list_jobs(tmp_path) == expected
    for name in ("a_pan.tif", "a_ms.tif"):
        (tmp_path / name).touch()
    pair = Job("a", str(tmp_path / "a_pan.tif"), str(tmp_path / "a_ms.tif"))
    assert list_jobs(tmp_path) == [*expected, pair]


def test_a_csv_file_is_a_list(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(
        b"\xef\xbb\xbfMS, PAN, name, sensor\r\n"
        b"m.tif, p.tif, one, wv3\r\n"
        b'"b2.tif; b3.tif",/vsizip//d/x.zip/pan.tif,,\r\n'
        b"https://example.org/m.tif,https://example.org/p.tif,,\r\n"
    )
    assert list_jobs(path) == [
        Job("one", str(tmp_path / "p.tif"), str(tmp_path / "m.tif"), "wv3"),
        Job(
            "pan", "/vsizip//d/x.zip/pan.tif", [str(tmp_path / "b2.tif"), str(tmp_path / "b3.tif")]
        ),
        Job("p", "https://example.org/p.tif", "https://example.org/m.tif"),
    ]


def test_a_csv_file_may_list_products_beside_pairs(tmp_path):
    landsat(tmp_path / "l.1", height=20, width=20)
    path = tmp_path / "list.csv"
    path.write_text(
        "product,pan,ms,name\n"
        "l.1,,,\n"
        "x/DIM_PHR.XML,,,two\n"
        "https://example.org/items/three.json?key=1,,,\n"
        ",p.tif,m.tif,\n"
    )
    assert list_jobs(path) == [
        Job("l.1", product=str(tmp_path / "l.1")),
        Job("two", product=str(tmp_path / "x/DIM_PHR.XML")),
        Job("three", product="https://example.org/items/three.json?key=1"),
        Job("p", str(tmp_path / "p.tif"), str(tmp_path / "m.tif")),
    ]


def links(*pairs, kind="Collection") -> str:
    return json.dumps({"type": kind, "links": [{"rel": r, "href": h} for r, h in pairs]})


@pytest.mark.parametrize("remote", [False, True])
def test_a_stac_collection_is_a_list_of_what_lies_below_it(tmp_path, served, remote):
    (tmp_path / "below").mkdir()
    (tmp_path / "all.json").write_text(
        links(
            *(("root", "all.json"), ("item", "./one.json"), ("child", "below/catalog.json")),
            *(("license", "no.html"), ("child", "paged.json")),
        )
    )
    up = ("parent", "../all.json"), ("child", "../all.json")  # a circle ends
    (tmp_path / "below" / "catalog.json").write_text(
        links(*up, ("item", "two.json"), ("item", "../one.json"), kind="Catalog")
    )
    (tmp_path / "paged.json").write_text(links(("items", "page.json")))
    features = [{"links": [{"rel": "self", "href": "https://example.org/items/a.b"}]}]
    (tmp_path / "page.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": features, "links": []})
    )
    base = served[0] if remote else str(tmp_path)
    assert list_jobs(f"{base}/all.json") == [
        Job("one", product=f"{base}/one.json"),
        Job("two", product=f"{base}/below/two.json"),
        Job("a.b", product="https://example.org/items/a.b"),
    ]


def test_items_whose_files_have_one_name_take_their_folders(tmp_path):
    path = tmp_path / "all.json"
    path.write_text(links(("item", "a/item.json"), ("item", "b/item.json")))
    assert [job.name for job in list_jobs(path)] == ["a", "b"]


def test_what_is_no_collection_is_refused(tmp_path, served):
    path = tmp_path / "x.json"
    for text, words in (
        ("{", "its text is not JSON"),
        ("[]", "is not a STAC collection: expected .* got something else"),
        (links(kind="Topology"), "got type Topology"),
        (links(("child", f"{served[0]}/no.json")), "no.json: the server answers 404"),
        (links(), "expected one scene or more, found none"),
    ):
        path.write_text(text)
        with pytest.raises(KSDiffError, match=words):
            list_jobs(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected columns pan and ms, or product, in the first line, got none"),
        ("pan,mss\n", "expected columns pan and ms, .* got pan, mss"),
        ("pan,ms,product\n,b.tif,x\n", "line 2: a product tells ms itself"),
        ("product,sensor\nx,wv3\n", "line 2: a product tells the sensor itself"),
        ("product,pan\n,a.tif\n", "line 2: ms is missing"),
        ("pan,ms,weather\n", "unknown column 'weather'"),
        ("pan,ms\n", "expected one scene or more, found none"),
        ("pan,ms\na.tif,\n", "line 2: ms is missing"),
        ("pan,ms\na.tif,b.tif,c\n", "line 2: more values than columns"),
        ("pan,ms\nx/a.tif,b.tif\ny/A.tif,c.tif\n", "two scenes are called A"),
        ("pan,ms,name\na.tif,b.tif,../x\n", "cannot be the name of a file"),
        ("pan,ms\n\xff", "cannot be read"),
    ],
)
def test_bad_lists_are_refused(tmp_path, text, words):
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(KSDiffError, match=words):
        list_jobs(path)


def test_what_is_neither_is_refused(tmp_path):
    with pytest.raises(KSDiffError, match=r"expected a folder, a \.csv file or a STAC"):
        list_jobs(tmp_path / "list.txt")
