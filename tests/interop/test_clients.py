"""Ordinary clients work unmodified: curl, requests, httpx, aiohttp, urllib; also through nginx."""

from __future__ import annotations

import hashlib
import http.client
import json
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests

from fix_nginx import Proxied
from fix_server import RunningServer, Serve
from fix_taking import eventually, need, noise
from raw_http import Wire, chunk, head

DATA = noise(3_000_001)
SHA = hashlib.sha256(DATA).hexdigest()
NAME = "Übersicht 表.bin"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / NAME
    path.write_bytes(DATA)
    return path


def pieces() -> Iterator[bytes]:
    for at in range(0, len(DATA), 70_000):
        yield DATA[at : at + 70_000]


async def async_pieces() -> AsyncIterator[bytes]:
    for piece in pieces():
        yield piece


def curl(*words: str | Path, stdin: bytes | None = None) -> Any:
    need("curl")
    done = subprocess.run(
        ["curl", "-sS", "--fail-with-body", "-m", "60", *map(str, words)],
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def stored_whole(server: RunningServer, response: Any, filename: str | None = NAME) -> None:
    """The response names one entry with the right digest; its key has the right bytes."""
    (entry,) = response["files"]

    assert entry["sha-256"] == SHA
    assert (server.root / entry["key"]).read_bytes() == DATA
    if filename:
        assert entry["filename"] == filename


# curl


def test_curl_upload_file(taker: RunningServer, file: Path) -> None:
    """curl -T file URL."""
    stored_whole(taker, curl("-T", file, f"{taker.url}/files/curl/T.bin"), "T.bin")


def test_curl_upload_into_a_folder(taker: RunningServer, file: Path) -> None:
    """curl -T file URL/ appends the file's name."""
    stored_whole(taker, curl("-T", file, f"{taker.url}/files/curl/"))


def test_curl_upload_stdin(taker: RunningServer) -> None:
    """curl -T - is chunked, and waits for 100."""
    stored_whole(
        taker, curl("-T", "-", f"{taker.url}/files/curl/stdin.bin", stdin=DATA), "stdin.bin"
    )


def test_curl_upload_with_an_http2_offer(taker: RunningServer, file: Path) -> None:
    """curl --http2 offers an upgrade; the body is not lost."""
    stored_whole(taker, curl("--http2", "-T", file, f"{taker.url}/files/curl/h2.bin"), "h2.bin")
    stored_whole(
        taker, curl("--http2", "-T", "-", f"{taker.url}/files/curl/h2c.bin", stdin=DATA), "h2c.bin"
    )


def test_curl_data_binary(taker: RunningServer, file: Path) -> None:
    """curl --data-binary @file labels the body as a form; it is stored as a raw body."""
    stored_whole(
        taker, curl("--data-binary", f"@{file}", f"{taker.url}/files?name=data.bin"), "data.bin"
    )


@pytest.mark.parametrize(
    "options",
    [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"], ["--http1.0"]],
)
def test_curl_form(taker: RunningServer, file: Path, options: list[str]) -> None:
    """curl -F with fields before and after, of known length, chunked, with 100 and in HTTP/1.0."""
    response = curl(
        *options, "-F", "id=42", "-F", f"file=@{file}", "-F", "note=späß", f"{taker.url}/files"
    )

    stored_whole(taker, response)
    assert response["fields"] == {"id": ["42"], "note": ["späß"]}


@pytest.mark.parametrize("encoder", ["base64", "quoted-printable", "binary", "8bit"])
def test_curl_form_encoder(taker: RunningServer, file: Path, encoder: str) -> None:
    """A part that curl encoded with encoder= is decoded."""
    stored_whole(taker, curl("-F", f"file=@{file};encoder={encoder}", f"{taker.url}/files"))


def test_curl_form_of_many_files(taker: RunningServer, file: Path) -> None:
    """Several files under one name and several, one from stdin, one with another name and type."""
    words = [
        "-F",
        f"a=@{file}",
        "-F",
        f"a=@{file};filename=x.txt;type=text/csv",
        "-F",
        "b=@-;filename=stdin",
    ]
    entries = curl(*words, f"{taker.url}/files", stdin=DATA)["files"]

    assert [entry["filename"] for entry in entries] == [NAME, "x.txt", "stdin"]
    assert [entry["sha-256"] for entry in entries] == [SHA] * 3
    assert entries[1]["type"] == "text/csv"


def test_curl_form_name_with_a_quote(taker: RunningServer, tmp_path: Path) -> None:
    """curl escapes a quote as browsers do; with --form-escape as older versions do."""
    path = tmp_path / 'a"b.txt'
    path.write_bytes(DATA)
    for options in ([], ["--form-escape"]):
        stored_whole(
            taker,
            curl(
                *options,
                "-F",
                f'file=@"{str(path).replace(chr(34), chr(92) + chr(34))}"',
                f"{taker.url}/files",
            ),
            "a_b.txt",
        )


# Python


def test_requests(taker: RunningServer, file: Path) -> None:
    """data=file, data=generator, files=, files= with fields."""
    with file.open("rb") as data:
        stored_whole(
            taker,
            requests.put(f"{taker.url}/files/requests", data=data, timeout=30).json(),
            "requests",
        )
    stored_whole(
        taker, requests.post(f"{taker.url}/files?name={NAME}", data=pieces(), timeout=30).json()
    )
    with file.open("rb") as data:
        response = requests.post(
            f"{taker.url}/files", files={"f": data}, data={"id": ["1", "2"]}, timeout=30
        ).json()
    stored_whole(taker, response)
    assert response["fields"] == {"id": ["1", "2"]}


def test_httpx(taker: RunningServer, file: Path) -> None:
    """content=file, content=generator, files=."""
    with file.open("rb") as data:
        stored_whole(
            taker, httpx.put(f"{taker.url}/files/httpx", content=data, timeout=30).json(), "httpx"
        )
    stored_whole(
        taker, httpx.put(f"{taker.url}/files/httpx2", content=pieces(), timeout=30).json(), "httpx2"
    )
    with file.open("rb") as data:
        response = httpx.post(
            f"{taker.url}/files", files={"f": data}, data={"id": "1"}, timeout=30
        ).json()
    stored_whole(taker, response)
    assert response["fields"] == {"id": ["1"]}


async def test_aiohttp(taker: RunningServer, file: Path) -> None:
    """data=file, data=async generator, FormData, with and without 100-continue."""
    async with aiohttp.ClientSession() as session:
        with file.open("rb") as data:
            async with session.put(
                f"{taker.url}/files/aiohttp", data=data, expect100=True
            ) as response:
                stored_whole(taker, await response.json(), "aiohttp")
        async with session.put(f"{taker.url}/files/aiohttp2", data=async_pieces()) as response:
            stored_whole(taker, await response.json(), "aiohttp2")
        form = aiohttp.FormData({"id": "1"})
        with file.open("rb") as data:
            form.add_field("f", data, filename="plain.bin")
            async with session.post(f"{taker.url}/files", data=form) as response:
                stored_whole(taker, await response.json(), "plain.bin")


def test_the_standard_library(taker: RunningServer, file: Path) -> None:
    """urllib.request and http.client, of known length and chunked."""
    request = urllib.request.Request(f"{taker.url}/files/urllib", data=DATA, method="PUT")
    with urllib.request.urlopen(request, timeout=30) as response:
        stored_whole(taker, json.load(response), "urllib")
    connection = http.client.HTTPConnection("127.0.0.1", taker.port, timeout=30)
    with file.open("rb") as data:
        connection.request(
            "PUT", "/files/client", body=data, headers={"Content-Length": str(len(DATA))}
        )
        stored_whole(taker, json.load(connection.getresponse()), "client")
    connection.request(
        "PUT",
        "/files/client2",
        body=pieces(),
        encode_chunked=True,
        headers={"Transfer-Encoding": "chunked"},
    )
    stored_whole(taker, json.load(connection.getresponse()), "client2")
    connection.close()


async def test_empty_files(taker: RunningServer, tmp_path: Path) -> None:
    """Every client says that an empty file has no bytes; a body without its length is refused."""
    (tmp_path / "empty").touch()
    url, empty = f"{taker.url}/files/empty", str(tmp_path / "empty")
    curl("-T", empty, f"{url}/curl")
    curl("-T", "-", f"{url}/curl-chunked", stdin=b"")
    curl("-X", "PUT", "--data-binary", f"@{empty}", f"{url}/curl-data")
    with open(empty, "rb") as file:
        for name, data in (("", b""), ("-none", None), ("-file", file)):
            requests.put(f"{url}/requests{name}", data=data, timeout=30).raise_for_status()
            httpx.put(f"{url}/httpx{name}", content=data).raise_for_status()
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            for name, data in (("", b""), ("-none", None), ("-file", file)):
                async with session.put(f"{url}/aiohttp{name}", data=data):
                    pass
    urllib.request.urlopen(urllib.request.Request(f"{url}/urllib", data=b"", method="PUT")).close()
    connection = http.client.HTTPConnection("127.0.0.1", taker.port, timeout=30)
    for name, data in (("client", b""), ("client-none", None)):
        connection.request("PUT", f"/files/empty/{name}", body=data)
        assert json.load(connection.getresponse())["files"][0]["size"] == 0
    connection.close()

    stored = {path.name: path.stat().st_size for path in (taker.root / "empty").iterdir()}
    assert len(stored) == 15
    assert not any(stored.values())


# nginx in between


@pytest.mark.nginx
@pytest.mark.parametrize("buffering", ["off", "on"])
def test_through_nginx(taker: RunningServer, proxied: Proxied, file: Path, buffering: str) -> None:
    """Raw, chunked and form uploads pass a proxy with buffering and one without."""
    url = proxied(taker, buffering)
    for number in range(3):
        stored_whole(
            taker,
            curl("-T", file, f"{url}/files/nginx/{buffering}{number}"),
            f"{buffering}{number}",
        )
        stored_whole(
            taker,
            curl("-T", "-", f"{url}/files/nginx/{buffering}{number}-", stdin=DATA),
            f"{buffering}{number}-",
        )
        empty = curl("-T", "-", f"{url}/files/nginx/{buffering}{number}-empty", stdin=b"")
        assert empty["files"][0]["size"] == 0
        response = curl("-F", "id=1", "-F", f"f=@{file}", f"{url}/files")
        stored_whole(taker, response)

        assert requests.get(url + response["files"][0]["url"], timeout=30).content == DATA


@pytest.mark.nginx
def test_a_refusal_passes_nginx(serve: Serve, proxied: Proxied, file: Path) -> None:
    """A 413, early or in the middle, reaches the client through a proxy without buffering."""
    server = serve("--max-size", "1000000")
    url = proxied(server)
    for _ in range(10):
        with file.open("rb") as data:
            at_once = requests.put(f"{url}/files/x", data=data, timeout=30)
        midway = requests.put(f"{url}/files/x", data=pieces(), timeout=30)

        assert (at_once.status_code, at_once.json()["code"]) == (413, "too-large")
        assert (midway.status_code, midway.json()["code"]) == (413, "too-large")
    assert server.stored() == {}


@pytest.mark.nginx
def test_a_client_lost_behind_nginx_leaves_nothing(serve: Serve, proxied: Proxied) -> None:
    """nginx forwards a cut body as a cut body."""
    server = serve()
    port = int(proxied(server).rpartition(":")[2])
    for framing, body in (
        (f"Content-Length: {len(DATA)}", DATA[:-9]),
        ("Transfer-Encoding: chunked", chunk(DATA)),
    ):
        with Wire(port) as wire:
            wire.send(head("PUT", "/files/cut", framing) + body)
            eventually(server.drafts, "the upload has begun")
        eventually(lambda: server.drafts() == [], "the upload has ended")
    assert server.stored() == {}
    assert server.drafts() == []
