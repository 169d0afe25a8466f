"""`ksdiff serve` as a process, asked over HTTP."""

import functools
import json
import resource

import pytest

from ksdiff import Sharpener
from ksdiff.io.geotiff import write_scene
from tests.support.service import Service

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
NAMES = {"pan": "a_pan.tif", "ms": "a_ms.tif"}
LONG = {"pan": "long_pan.tif", "ms": "long_ms.tif"}
HEAD = b"POST /sharpen HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer open sesame\r\n"
# What clients send who then say no more: nothing, part of a head, no body.
SLOW = (b"", HEAD, HEAD + b"Content-Length: 99\r\n\r\n")


@pytest.fixture(scope="module")
def root(tmp_path_factory, scene):
    """A folder with a small scene, one of many windows, one that is too large, a damaged one."""
    root = tmp_path_factory.mktemp("root")
    pan, ms, _ = scene
    write_scene(root, "a", pan[:, :64, :64], ms[:, :16, :16])
    write_scene(root, "long", pan.repeat(6, 1)[:, :, :64], ms.repeat(6, 1)[:, :, :16])
    write_scene(root, "large", pan[:, :, :128].repeat(6, 1), ms[:, :, :32].repeat(6, 1))
    write_scene(root, "broken", pan[:, :128, :128], ms[:, :32, :32])
    with (root / "broken_ms.tif").open("rb+") as file:
        file.truncate(2500)
    (root / "link.tif").symlink_to("/etc/hostname")
    return root


@pytest.fixture(scope="module")
def service(root, tmp_path_factory):
    """A server that goes on where another one was killed; ``began`` are the jobs of that one."""
    state = tmp_path_factory.mktemp("state")
    arguments = ("--root", root, "--state", state, "--tile", 256)
    first = Service(*arguments)
    strange = first.ask("/jobs", Host="example.org")[0]
    began = [first.post(**LONG)]
    began += [first.post(**NAMES, options={"method": "exp"}) for _ in range(2)]
    first.wait(began[0], "running")
    first.kill()
    started = Service(*arguments, "--queue", 4, "--megapixels", 0.17, token="open sesame")
    started.state, started.began, started.strange = state, began, strange
    started.slow = [started.connect(start) for start in SLOW]
    for job in began:
        started.wait(job)
    yield started
    started.kill()


def test_what_a_killed_server_had_to_do_is_done_by_the_next(service):
    states = {job["jobID"]: job["status"] for job in service.json("/jobs")["jobs"]}
    assert [states[job] for job in service.began] == ["successful"] * 3
    assert service.ask(f"/jobs/{service.began[0]}/results/fused.tif")[0] == 200


def test_without_a_token_other_names_of_the_server_are_refused(service):
    assert service.strange == 400


def test_a_job_gives_what_the_command_gives(service, root, tmp_path):
    job = service.post(**NAMES, options={"method": "gsa"}, report=True)
    done = service.wait(job)
    assert (done["status"], done["progress"]) == ("successful", 100), done
    results = service.json(f"/jobs/{job}/results")
    assert results["summary"]["bands"] == 4
    assert results["fused"]["href"] == f"{service.address}/jobs/{job}/results/fused.tif"
    files = [[str(root / name)] for name in NAMES.values()]
    Sharpener(method="gsa", tile=256).sharpen_files(*files, tmp_path / "a.tif")
    expected = (tmp_path / "a.tif").read_bytes()
    assert service.ask(f"/jobs/{job}/results/fused.tif") == (200, expected)
    status, page = service.ask(f"/jobs/{job}/results/report.html")
    assert status == 200
    assert b"Sharpening report" in page
    assert service.ask(f"/jobs/{job}/results/..%2f..%2fjobs.sqlite")[0] == 404
    assert job in {each["jobID"] for each in service.json("/jobs")["jobs"]}


def test_the_same_by_ogc_api_processes(service):
    process = service.json("/processes/sharpen")
    assert {"pan", "ms", "options"} <= process["inputs"].keys()
    inputs = {"inputs": {**NAMES, "options": {"method": "exp"}}}
    job = service.json("/processes/sharpen/execution", inputs)["jobID"]
    assert service.wait(job)["status"] == "successful"
    assert any(each.endswith("/dismiss") for each in service.json("/conformance")["conformsTo"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pan": "../state/jobs.sqlite"}, "no such file in the folders"),
        ({"pan": "link.tif"}, "no such file in the folders"),
        ({"ms": "http://127.0.0.1/a.tif"}, "not among the allowed addresses"),
        ({"options": {"method": "nix"}}, "mtf-glp"),
        ({"options": {"device": "cuda"}}, "unknown 'device'"),
        ({"output": {"co": ["A=B"]}}, "unknown 'co'"),
        ({"options": {"seed": "1"}}, "expected int, got '1'"),
    ],
)
def test_what_may_not_be_asked_is_refused(service, changes, words):
    status, content = service.ask("/sharpen", {**NAMES, **changes})
    assert status == 422
    assert words in json.loads(content)["title"]


def test_strangers_and_long_requests_get_nothing(service):
    assert service.ask("/jobs", Authorization="Bearer shut sesame")[0] == 401
    assert service.ask("/sharpen", b"[" * 70_000)[0] == 413
    assert service.ask("/jobs", Huge="x" * 20_000)[0] == 431


def test_a_full_disk_refuses_jobs_until_there_is_room(service):
    # The kernel refuses to write beyond it, as it does on a full disk.
    full = functools.partial(resource.prlimit, service.process.pid, resource.RLIMIT_FSIZE)
    before = full()
    full((1, before[1]))
    status, content = service.ask("/sharpen", NAMES)
    full(before)
    assert status == 507 and b"jobs cannot be kept" in content
    assert service.wait(service.post(**NAMES, options={"method": "exp"}))["status"] == "successful"


@pytest.mark.parametrize(
    ("name", "words"), [("broken", "broken_ms.tif"), ("large", "0.2 million pixels are shared")]
)
def test_a_job_that_fails_says_why(service, root, name, words):
    names = {role: f"{name}_{role}.tif" for role in ("pan", "ms")}
    job = service.post(**names, options={"method": "exp"})
    found = service.wait(job)
    assert found["status"] == "failed"
    assert words in found["message"]
    assert str(root) not in found["message"]
    assert service.ask(f"/jobs/{job}/results")[0] == 404


def test_a_job_is_cancelled_while_it_runs_and_no_more_than_may_wait(service):
    jobs = [service.post(**LONG) for _ in range(4)]
    assert service.ask("/sharpen", NAMES)[0] == 429
    service.wait(jobs[0], "running")
    for job in jobs:
        assert service.json(f"/jobs/{job}", method="DELETE")["status"] == "dismissed"
    last = service.post(**NAMES, options={"method": "exp"})
    assert service.wait(last)["status"] == "successful"
    for job in jobs:
        assert service.json(f"/jobs/{job}")["status"] == "dismissed"
        assert service.ask(f"/jobs/{job}/results")[0] == 410
        assert not list((service.state / "results").glob(f"*{job}*"))


def test_slow_clients_are_cut_off(service):
    silent, headless, bodiless = (client.makefile("rb").read() for client in service.slow)
    assert silent == headless == b""
    assert bodiless.startswith(b"HTTP/1.1 408") and b"within 10 seconds" in bodiless
