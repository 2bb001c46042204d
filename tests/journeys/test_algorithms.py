"""Every algorithm of --digest, from the request to the response, and where it is missing."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import httpx
import pytest
import requests
from fastapi import FastAPI
from werkzeug.test import Client

import sluiceway
import sluiceway.flask
from fix_server import RunningServer, start_server
from raw_http import BOUNDARY, form_body
from sluiceway import Sluiceway
from sluiceway.errors import DigestMismatch, SluiceError
from sluiceway.pipe.hashes import CHOICES, digest_of
from sluiceway.starlette.service import mount
from sluiceway.testing.store_suite import pattern
from sluiceway.wire.headers.object_digests import digest_headers

DATA = pattern(300_000)
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
STANDARD = ("sha-256", "sha-512")
ASKS = {
    "nothing": ({}, "crc64nvme"),
    "promises sha-256": (
        digest_headers([("sha-256", digest_of("sha-256", DATA).hex())]),
        "sha-256",
    ),
    "wants sha-256": ({"Want-Repr-Digest": "sha-256=3"}, "sha-256"),
    "wants the content's": ({"Want-Content-Digest": "sha-512=9, sha-256=1"}, "sha-512"),
    "refuses sha-256": ({"Want-Repr-Digest": "sha-256=0"}, "crc64nvme"),
    "wants another": ({"Want-Repr-Digest": "md5=10"}, "crc64nvme"),
    "wants in riddles": ({"Want-Repr-Digest": "=;="}, "crc64nvme"),
}


def digits(algorithm: str, data: bytes = DATA) -> str:
    return digest_of(algorithm, data).hex()


def named(entry: dict[str, object]) -> dict[str, object]:
    """The digests that a description of a file names."""
    return {name: entry[name] for name in CHOICES if entry.get(name) is not None}


def asking(app: Any) -> httpx.AsyncClient:
    """A client of an app in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def in_headers(headers: object) -> dict[str, str]:
    known = dict(headers.items())  # type: ignore[attr-defined]
    lower = {name.lower(): value for name, value in known.items()}
    return {
        name: lower[name]
        for name in ("repr-digest", "x-checksum-blake3", "x-checksum-crc64nvme")
        if name in lower
    }


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningServer]]:
    """By algorithm; they share one folder."""
    root = tmp_path_factory.mktemp("shared") / "root"
    running = {name: start_server(root, "--digest", name) for name in (*CHOICES, "auto")}
    yield running
    for server in running.values():
        server.stop()


@pytest.mark.parametrize("algorithm", CHOICES)
def test_an_upload_is_described_by_the_algorithm(
    servers: dict[str, RunningServer], algorithm: str
) -> None:
    """Raw and form: in the response, the list, HEAD and GET; a wrong promise stores nothing."""
    url, expected = f"{servers[algorithm].url}/files", {algorithm: digits(algorithm)}
    raw = requests.put(f"{url}/{algorithm}/raw", data=DATA, timeout=10)
    form = requests.post(url, data=form_body(("f", "x", DATA)), headers=FORM, timeout=10)
    for response in (raw, form):
        assert response.status_code == 201, response.text
        assert named(response.json()["files"][0]) == expected
        assert "sha-256" in response.json()["files"][0]
    listed = requests.get(f"{url}?prefix={algorithm}/", timeout=10).json()["files"]
    assert [named(entry) for entry in listed] == [expected]
    for method in ("HEAD", "GET"):
        got = requests.request(method, f"{url}/{algorithm}/raw", timeout=10)
        assert in_headers(got.headers) == digest_headers(list(expected.items()))
        assert algorithm in STANDARD or "Repr-Digest" not in got.headers

    wrong = digest_headers([(algorithm, digits(algorithm, b"other"))])
    refused = requests.put(f"{url}/wrong", data=DATA, headers=wrong, timeout=10)
    assert (refused.status_code, refused.json()["code"]) == (400, "digest-mismatch")
    assert not (servers[algorithm].root / "wrong").exists()


@pytest.mark.parametrize("algorithm", CHOICES)
def test_a_copy_up_and_down_is_checked_by_the_algorithm(
    servers: dict[str, RunningServer], tmp_path: Path, algorithm: str
) -> None:
    """The receipts name it. Down, what the server names is checked although none was chosen."""
    (tmp_path / "up").write_bytes(DATA)
    url, expected = (
        f"{servers[algorithm].url}/files/copied-{algorithm}",
        ((algorithm, digits(algorithm)),),
    )
    up = sluiceway.copy(str(tmp_path / "up"), url, digest=algorithm)
    assert (up.digests, named(up.to_json())) == (expected, dict(expected))
    down = sluiceway.copy(url, str(tmp_path / "down"), digest="none")
    assert (down.digests, (tmp_path / "down").read_bytes()) == (expected, DATA)
    both = sluiceway.copy(url, str(tmp_path / "both"))
    assert both.sha256 == digits("sha-256")


@pytest.mark.parametrize("algorithm", CHOICES)
def test_a_copy_finds_out_that_other_bytes_came(
    servers: dict[str, RunningServer], tmp_path: Path, algorithm: str
) -> None:
    """A file whose note has another digest: the copy down and from server to server is refused."""
    server, key = servers[algorithm], f"changed-{algorithm}"
    requests.put(f"{server.url}/files/{key}", data=DATA, timeout=10)
    path = server.root / key
    note = os.getxattr(path, "user.sluiceway").decode()
    changed = note.replace(digits(algorithm), digits(algorithm, b"other"))
    assert changed != note
    os.setxattr(path, "user.sluiceway", changed.encode())

    url = f"{server.url}/files/{key}"
    for target in (str(tmp_path / "down"), f"sqlite:///{tmp_path}/files.db/down?table=files"):
        with pytest.raises(DigestMismatch, match=algorithm):
            sluiceway.copy(url, target, digest="none")
    assert not (tmp_path / "down").exists()


@pytest.mark.parametrize("algorithm", CHOICES)
def test_a_destination_that_keeps_other_bytes_is_found_out(
    servers: dict[str, RunningServer], tmp_path: Path, algorithm: str
) -> None:
    """Objects of both sides are compared by an algorithm that both know, or by reading one."""
    server, key = servers[algorithm], f"compared-{algorithm}/a"
    requests.put(f"{server.url}/files/{key}", data=DATA, timeout=10)
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").write_bytes(DATA)
    target = f"{server.url}/files/compared-{algorithm}/"
    report = sluiceway.copy_all(str(tmp_path / "from"), target)
    assert (report.skipped, report.failed) == (1, 0)
    (tmp_path / "from" / "a").write_bytes(DATA[:-1] + b"?")
    assert sluiceway.copy_all(str(tmp_path / "from"), target).failed == 1


def test_a_server_with_another_algorithm_names_what_is_stored(
    servers: dict[str, RunningServer],
) -> None:
    """Its own algorithm comes with the next version; until then the tag stays, too."""
    first = servers["crc64nvme"]
    requests.put(f"{first.url}/files/moved", data=DATA, timeout=10)
    seen = [
        requests.head(f"{server.url}/files/moved", timeout=10).headers
        for server in servers.values()
    ]
    assert {headers["X-Checksum-Crc64nvme"] for headers in seen} == {digits("crc64nvme")}
    assert len({headers["ETag"] for headers in seen}) == 1
    assert not any("Repr-Digest" in headers for headers in seen)
    requests.put(f"{servers['sha-256'].url}/files/moved", data=b"new", timeout=10)
    assert in_headers(requests.head(f"{first.url}/files/moved", timeout=10).headers) == (
        digest_headers([("sha-256", digits("sha-256", b"new"))])
    )


@pytest.mark.parametrize("asks", ASKS)
def test_auto_counts_what_is_asked_for(servers: dict[str, RunningServer], asks: str) -> None:
    headers, algorithm = ASKS[asks]
    url = f"{servers['auto'].url}/files/auto"
    response = requests.put(url, data=DATA, headers=headers, timeout=10)
    assert named(response.json()["files"][0]) == {algorithm: digits(algorithm)}


@pytest.mark.parametrize("place", ["memory:", "sqlite", "fsspec", "fan-out"])
async def test_every_place_keeps_the_algorithm(place: str, tmp_path: Path) -> None:
    """Memory, a database, fsspec, two places at once: by PUT, in the list and by GET."""
    to: dict[str, list[str]] = {
        "sqlite": [f"sqlite:///{tmp_path}/files.db?table=files"],
        "fsspec": [f"fsspec+memory://{tmp_path}"],
        "fan-out": [str(tmp_path / "one"), f"sqlite:///{tmp_path}/two.db?table=files"],
    }
    for digest, wants in (("blake3", ""), ("crc64nvme", ""), ("auto", ""), ("auto", "sha-256=1")):
        app = Sluiceway(to=tuple(to.get(place, [place])), digest=digest)
        expected = chosen(digest, wants)
        headers = {"Want-Repr-Digest": wants} if wants else {}
        async with asking(app) as client:
            put = await client.put("/files/a", content=DATA, headers=headers)
            assert named(put.json()["files"][0]) == expected, put.text
            listed = (await client.get("/files")).json()["files"][0]
            assert named(listed) == ({} if place == "fsspec" else expected)
            got = await client.get("/files/a")
            assert in_headers(got.headers) == digest_headers(list(expected.items()))
        await app.aclose()


async def test_a_relay_names_the_algorithm_and_refuses_a_wrong_promise(
    servers: dict[str, RunningServer],
) -> None:
    """Its backend never gets all of a body with a wrong digest."""
    backend = servers["sha-512"]
    app = Sluiceway(to=backend.url, relay_url="/files/{key}", digest="crc64nvme")
    async with asking(app) as client:
        right = digest_headers([("crc64nvme", digits("crc64nvme"))])
        good = await client.put("/files/relayed", content=DATA, headers=right)
        assert good.status_code == 201, good.text
        assert named(good.json()["files"][0]) == {"sha-512": digits("sha-512")}  # its own answer
        wrong = digest_headers([("crc64nvme", digits("crc64nvme", b"other"))])
        bad = await client.put("/files/refused", content=DATA, headers=wrong)
        assert (bad.status_code, bad.json()["code"]) == (400, "digest-mismatch")
    await app.aclose()
    assert (backend.root / "relayed").read_bytes() == DATA
    assert not (backend.root / "refused").exists()


MOUNTED = ("auto", "crc64nvme", "blake3")
DJANGO = """
import json, sys
from pathlib import Path
from django.conf import settings
settings.configure(ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x")
import django
django.setup()
import types
from django.test import Client
import sluiceway.django
root, data = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
urls = types.ModuleType("urls")
urls.urlpatterns = [
    sluiceway.django.mount(f"{name}/", to=str(root / name), digest=name) for name in sys.argv[3:]
]
sys.modules["urls"] = urls
client, answers = Client(), {}
for name in sys.argv[3:]:
    for wants in ("", "sha-256=1"):
        headers = {"Want-Repr-Digest": wants} if wants else {}
        put = client.put(
            f"/{name}/files/a{len(wants)}", data, "application/octet-stream", headers=headers
        )
        answers[f"{name} {wants}"] = json.loads(b"".join(put))
print(json.dumps(answers))
"""


def chosen(digest: str, wants: str) -> dict[str, str]:
    """What an upload is described by: `auto` heeds what the client wants."""
    auto = "sha-256" if wants else "crc64nvme"
    algorithm = auto if digest == "auto" else digest
    return {algorithm: digits(algorithm)}


@pytest.mark.parametrize("digest", MOUNTED)
async def test_apps_that_mount_the_service_choose_the_algorithm(
    tmp_path: Path, digest: str
) -> None:
    """Flask on WSGI, FastAPI on ASGI: `auto` heeds the client there, too."""
    app = flask.Flask("digests")
    sluiceway.flask.mount(app, "/drop", to=str(tmp_path / "flask"), digest=digest)
    api = FastAPI()
    mount(api, "/drop", to=str(tmp_path / "fastapi"), digest=digest)
    for wants in ("", "sha-256=1"):
        headers, key = {"Want-Repr-Digest": wants} if wants else {}, f"a{len(wants)}"
        put = Client(app).put(
            f"/drop/files/{key}", data=DATA, headers=headers, base_url="http://localhost"
        )
        assert named((put.json or {})["files"][0]) == chosen(digest, wants)
        async with asking(api) as client:
            answer = await client.put(f"/drop/files/{key}", content=DATA, headers=headers)
        assert named(answer.json()["files"][0]) == chosen(digest, wants)


def test_a_django_site_that_mounts_the_service_chooses_the_algorithm(tmp_path: Path) -> None:
    """In a process of its own: Django is configured once."""
    (tmp_path / "data").write_bytes(DATA)
    words = [sys.executable, "-c", DJANGO, str(tmp_path), str(tmp_path / "data"), *MOUNTED]
    run = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    for case, answer in json.loads(run.stdout).items():
        digest, _, wants = case.partition(" ")
        assert named(answer["files"][0]) == chosen(digest, wants), case


def test_an_unknown_algorithm_is_refused_in_words() -> None:
    with pytest.raises(
        SluiceError,
        match=r"--digest must be .* auto or none alone, not 'md4'",
    ):
        Sluiceway(to="memory:", digest="md4")


@pytest.mark.parametrize("digest", ["auto", "crc64nvme", "blake3"])
def test_repr_digest_alone_with_a_checksum_names_the_header_that_works(
    servers: dict[str, RunningServer], digest: str
) -> None:
    """RFC 9530 has no CRC64NVME and no BLAKE3: what the refusal names is then accepted."""
    url = f"{servers[digest].url}/files/named-{digest}"
    for algorithm in ("crc64nvme", "blake3"):
        value = base64.b64encode(digest_of(algorithm, DATA)).decode()
        headers = {"Repr-Digest": f"{algorithm}=:{value}:"}
        refused = requests.put(url, data=DATA, headers=headers, timeout=10)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad-digest")
        header = f"X-Checksum-{algorithm.capitalize()}"
        assert f"send {header}: HEXADECIMAL or Repr-Digest: sha-256=" in refused.json()["detail"]
        retried = requests.put(url, data=DATA, headers={header: digits(algorithm)}, timeout=10)
        assert retried.status_code in (200, 201, 409), retried.text
        assert retried.status_code != 409 or algorithm == "blake3"


def test_a_missing_library_is_named_with_its_extra(
    nothing_extra: dict[str, str], tmp_path: Path
) -> None:
    """By the server before it starts, and by a copy before it begins."""
    serve = ["serve", "--to", str(tmp_path / "root"), "--port", "0"]
    copy = ["copy", str(tmp_path), "http://127.0.0.1:9/files/"]
    for words, algorithm in ((serve, "blake3"), (copy, "crc64nvme")):
        run = subprocess.run(
            [sys.executable, "-m", "sluiceway", *words, "--digest", algorithm],
            env=nothing_extra,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert run.returncode != 0
        assert f"pip install 'sluiceway[{algorithm}]'" in run.stderr, run.stderr


def test_without_the_libraries_auto_counts_none_and_promises_are_refused(
    servers: dict[str, RunningServer], nothing_extra: dict[str, str], tmp_path: Path
) -> None:
    """What is stored with such a digest is still named; the words name no option of the server."""
    requests.put(f"{servers['crc64nvme'].url}/files/elsewhere", data=DATA, timeout=10)
    server = start_server(servers["crc64nvme"].root, "--digest", "auto", env=nothing_extra)
    try:
        url = f"{server.url}/files"
        plain = requests.put(f"{url}/plain", data=DATA, timeout=10)
        assert named(plain.json()["files"][0]) == {}
        asked = requests.put(
            f"{url}/asked", data=DATA, headers={"Want-Repr-Digest": "sha-256=1"}, timeout=10
        )
        assert named(asked.json()["files"][0]) == {"sha-256": digits("sha-256")}
        promised = digest_headers([("crc64nvme", digits("crc64nvme"))])
        refused = requests.put(f"{url}/promised", data=DATA, headers=promised, timeout=10)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad-digest")
        assert "pip" not in refused.text
        there = requests.head(f"{url}/elsewhere", timeout=10).headers
        assert there["X-Checksum-Crc64nvme"] == digits("crc64nvme")
        run = subprocess.run(
            [sys.executable, "-m", "sluiceway", "copy", f"{url}/elsewhere", "-", "--json"],
            env=nothing_extra,
            capture_output=True,
            timeout=30,
        )
        assert run.stdout == DATA, run.stderr
    finally:
        server.stop()


def test_ls_and_reports_name_the_algorithm(
    servers: dict[str, RunningServer], tmp_path: Path
) -> None:
    """`ls --json` of a list and of one file; the report and the journal of a copy of many."""
    url = f"{servers['blake3'].url}/files/"
    requests.put(f"{url}ls/a", data=DATA, timeout=10)
    for words in (["ls", f"{url}ls/"], ["ls", f"{url}ls/a"]):
        run = subprocess.run(
            [sys.executable, "-m", "sluiceway", *words, "--json"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert named(json.loads(run.stdout.splitlines()[0])) == {"blake3": digits("blake3")}
    run = subprocess.run(
        [sys.executable, "-m", "sluiceway", "copy", "-r", f"{url}ls/", f"{tmp_path}/to/", "--json"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert named(json.loads(run.stdout.splitlines()[0])) == {
        "blake3": digits("blake3"),
        "sha-256": digits("sha-256"),
    }
