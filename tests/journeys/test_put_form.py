"""A form sent by PUT, as curl -X PUT -F does.

Its one file becomes the object; its envelope never does.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests

from fix_gateway import Gateway, takes
from fix_taking import eventually, need, noise
from fix_ways import NAMES, Way
from raw_http import BOUNDARY, form_body
from rude_peer import Peer

FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
DATA = noise(300_000)

Part = tuple[str, str | None, bytes]


def put(url: str, *parts: Part, **headers: str) -> requests.Response:
    sent = {**FORM, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return requests.put(url, data=form_body(*parts), headers=sent, timeout=30)


@pytest.mark.parametrize("name", NAMES)
def test_curl_puts_a_form_and_its_file_is_the_object(
    ways: Mapping[str, Way], name: str, tmp_path: Path
) -> None:
    """curl -X PUT -F file=@f.

    The key holds the file's bytes, on disk, through a gateway and in a mounted service.
    """
    need("curl")
    (tmp_path / "f.txt").write_bytes(DATA)
    command = [
        "curl",
        "-sS",
        "-w",
        "%{http_code}",
        "-o",
        "/dev/null",
        "-X",
        "PUT",
        "-F",
        f"file=@{tmp_path / 'f.txt'}",
    ]
    sent = subprocess.run(
        [*command, f"{ways[name].url}/files/by/curl"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert sent.stdout == "201"
    assert ways[name].read("by/curl") == DATA


@pytest.mark.parametrize("size", [0, 1, 65_536, 300_000])
@pytest.mark.parametrize("name", NAMES)
def test_fields_around_the_file_are_answered(ways: Mapping[str, Way], name: str, size: int) -> None:
    """A form of one file may have fields before it; the response contains them in each setup."""
    response = put(
        f"{ways[name].url}/files/fields", ("title", None, b"T"), ("f", "x.txt", DATA[:size])
    )

    assert response.status_code in (200, 201), response.text
    assert response.json()["fields"] == {"title": ["T"]}
    assert ways[name].read("fields") == DATA[:size]


@pytest.mark.parametrize("name", NAMES)
def test_a_second_put_replaces_and_conditions_hold(ways: Mapping[str, Way], name: str) -> None:
    """200 for a replacement; If-None-Match: * refuses it, and the object stays."""
    url = f"{ways[name].url}/files/again"
    assert put(url, ("f", "x", b"first")).status_code == 201
    assert put(url, ("f", "x", b"second")).status_code == 200
    assert put(url, ("f", "x", b"third"), If_None_Match="*").status_code == 412
    assert ways[name].read("again") == b"second"


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        ([("a", "1.txt", b"1"), ("b", "2.txt", b"2")], 415, "unsupported"),
        ([("a", "same.txt", b"1"), ("a", "same.txt", b"1")], 415, "unsupported"),
        ([("title", None, b"T")], 422, "missing-field"),
        ([("unused", "", b"")], 422, "missing-field"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_several_files_or_none_are_refused_with_advice(
    ways: Mapping[str, Way], name: str, parts: list[Part], status: int, code: str
) -> None:
    """Nothing is stored, and the text names both requests that work."""
    response = put(f"{ways[name].url}/files/refused", *parts)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert "curl -T" in response.json()["detail"]
    assert "POST /files" in response.json()["detail"]
    assert "refused" not in ways[name].stored()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("kind", "code"),
    [("multipart/form-data", "bad-form"), ("multipart/form-data; boundary=", "bad-form")],
)
def test_a_form_without_its_boundary_is_refused(
    ways: Mapping[str, Way], name: str, kind: str, code: str
) -> None:
    """The client set the type by hand: refused, because the envelope is not the file."""
    body = form_body(("f", "x", b"1"))
    response = requests.put(
        f"{ways[name].url}/files/nobound", data=body, headers={"Content-Type": kind}, timeout=10
    )

    assert (response.status_code, response.json()["code"]) == (400, code)
    assert "nobound" not in ways[name].stored()


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_web_page_is_one_file(ways: Mapping[str, Way], name: str) -> None:
    """multipart/related (.mht) is a file with parts, not a form.

    It is stored unchanged, with the boundary in its type.
    """
    kind = 'multipart/related; type="text/html"; boundary="----=_Part1"'
    response = requests.put(
        f"{ways[name].url}/files/page.mht", data=DATA, headers={"Content-Type": kind}, timeout=10
    )

    assert response.status_code in (200, 201)
    assert response.json()["files"][0]["type"] == kind
    assert ways[name].read("page.mht") == DATA


@pytest.mark.parametrize(
    "kind",
    [
        "text/csv; charset=windows-1252",
        'application/x; a="b; c"',
        "multipart/mixed; boundary=B",
        "text/plain;format=flowed",
    ],
)
def test_a_backend_gets_the_type_with_its_parameters(gateway: Gateway, kind: str) -> None:
    """Without the boundary or the charset, the bytes mean something else."""
    with Peer(takes) as peer:
        server = gateway(f"{peer.url}/files")
        requests.put(f"{server.url}/files/k", data=DATA, headers={"Content-Type": kind}, timeout=10)
        part = form_body(("f", "x", b"1")).replace(b"application/octet-stream", kind.encode())
        if "boundary" not in kind:
            requests.post(f"{server.url}/files", data=part, headers=FORM, timeout=10)
            assert f"Content-Type: {kind}\r\n".encode() in peer.seen[1].body
        assert peer.seen[0].headers["content-type"] == kind


@pytest.mark.parametrize("size", [3, 300_000])
def test_fields_after_the_file_are_never_dropped(gateway: Gateway, size: int) -> None:
    """A field after the file is sent on with it, or the form is refused and the backend gets no
    complete body.
    """
    with Peer(takes) as peer:
        server = gateway(f"{peer.url}/files", "--relay-chunked")
        response = put(f"{server.url}/files/k", ("f", "x", DATA[:size]), ("late", None, b"L"))
        if response.status_code == 201:
            assert b'name="late"' in peer.seen[0].body
        else:
            assert (response.status_code, response.json()["code"]) == (400, "bad-form")
            # the backend hears of it a moment after the client
            eventually(lambda: all(exchange.cut for exchange in peer.seen), "the request is cut")


def test_the_operators_form_carries_it(gateway: Gateway) -> None:
    """--relay-form: a PUT of a form is sent on by PUT, in the set field, to the key's URL."""
    with Peer(takes) as peer:
        server = gateway(f"{peer.url}/files", "--relay-form", "document")
        response = put(f"{server.url}/files/k", ("f", "x.txt", b"bytes"))

        assert response.status_code == 201
        (seen,) = peer.seen
        assert (seen.method, seen.target) == ("PUT", "/files/k")
        assert b'name="document"; filename="x.txt"' in seen.body


def test_a_backend_that_reads_no_forms_gets_the_file_alone(gateway: Gateway) -> None:
    """WebDAV, buckets.

    There the body of a PUT is the object, so the file is sent on without its envelope.
    """
    with Peer(takes) as peer:
        server = gateway(f"{peer.url}/files")
        put(f"{server.url}/files/k", ("f", "x.txt", DATA))

        (seen,) = peer.seen
        assert (seen.method, seen.target, seen.body) == ("PUT", "/files/k", DATA)
