"""A request without a file is not a success.

Forms without a file, pages' forms that cannot carry one, import requests that are not allowed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
import requests

from fix_gateway import Gateway, takes
from fix_taking import noise
from fix_ways import NAMES, Way
from raw_http import BOUNDARY, Wire, chunked, form_body, head
from rude_peer import Peer

FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
NAVIGATES = {
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Accept": "text/html,*/*;q=0.8",
}

EMPTY = {
    "only a field": form_body(("title", None, b"x")),
    "an input left empty": form_body(("file", "", b"")),
    "both": form_body(("title", None, b"x"), ("file", "", b"")),
}


@pytest.mark.parametrize("kind", EMPTY)
@pytest.mark.parametrize("name", NAMES)
def test_a_form_without_a_file_is_refused(ways: Mapping[str, Way], name: str, kind: str) -> None:
    """422 and not 201: the sender believes that a file is stored."""
    response = requests.post(f"{ways[name].url}/files", data=EMPTY[kind], headers=FORM, timeout=10)

    assert (response.status_code, response.json()["code"]) == (422, "missing-field")
    assert "filename" in response.json()["detail"]
    assert "Location" not in response.headers


def test_a_gateway_refuses_it_without_a_request_to_the_backend(gateway: Gateway) -> None:
    """The backend gets no request for a form without a file."""
    with Peer(takes) as peer:
        server = gateway(f"{peer.url}/files")
        assert (
            requests.post(
                f"{server.url}/files", data=EMPTY["only a field"], headers=FORM, timeout=10
            ).status_code
            == 422
        )
        assert peer.seen == []


@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_front_of_the_first_boundary_is_not_passed_over(
    ways: Mapping[str, Way], name: str
) -> None:
    """A misspelled first boundary turns its part into a preamble, which the rules for mail drop
    silently.
    """
    way = ways[name]
    before = way.stored()
    body = form_body(("f", "lost.txt", b"the file"), ("g", "kept.txt", b"another")).replace(
        b"--", b"-~", 1
    )
    response = requests.post(f"{way.url}/files", data=body, headers=FORM, timeout=10)

    assert (response.status_code, response.json()["code"]) == (400, "bad-form")
    assert way.stored() == before


@pytest.mark.parametrize("space", [b"\r\n", b" \t\r\n\r\n"])
def test_white_space_before_the_first_boundary_is_ignored(
    ways: Mapping[str, Way], space: bytes
) -> None:
    """Some clients write an empty line first."""
    response = requests.post(
        f"{ways['alone'].url}/files",
        data=space + form_body(("f", "x", b"1")),
        headers=FORM,
        timeout=10,
    )

    assert response.status_code == 201


PAGES = {
    "a browser over https or at home": NAVIGATES,
    "a browser over plain http": {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
    "a program": {"Accept": "*/*"},
}


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "text/plain; charset=UTF-8"]
)
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_form_without_enctype_is_refused_with_the_missing_attribute(
    ways: Mapping[str, Way], name: str, page: str, kind: str
) -> None:
    """It sends the file's name and none of its bytes; the server must not store the name as the
    file.
    """
    if page == "a program" and kind.startswith("text/plain"):
        pytest.skip("a text of a program is a file")
    way = ways[name]
    before = way.stored()
    response = requests.post(
        f"{way.url}/files",
        data=b"file=photo.jpg",
        headers={"Content-Type": kind, **PAGES[page]},
        timeout=10,
    )

    assert (response.status_code, response.json()["code"]) == (415, "unsupported")
    assert 'enctype="multipart/form-data"' in response.json()["detail"]
    assert way.stored() == before


def test_a_file_that_curl_labels_as_a_form_is_stored(ways: Mapping[str, Way]) -> None:
    """curl --data-binary labels every body application/x-www-form-urlencoded, and is not a page."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "*/*"}
    response = requests.post(
        f"{ways['alone'].url}/files?name=a.bin", data=b"bytes", headers=headers, timeout=10
    )

    assert response.status_code == 201
    response = requests.put(
        f"{ways['alone'].url}/files/form", data=b"a=1", headers=headers, timeout=10
    )
    assert response.status_code == 201


ORDERS = [
    '{"url": "https://a.example/x"}',
    '{"url": "http://10.0.0.1/", "name": "n", "type": "a/b"}',
    ' {"url":""} ',
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_an_import_request_is_not_stored_where_imports_are_off(
    ways: Mapping[str, Way], name: str, chunks: bool, order: str
) -> None:
    """403 says how to allow imports, and how to store the JSON itself."""
    way = ways[name]
    before = way.stored()
    data = iter([order[:5].encode(), order[5:].encode()]) if chunks else order
    response = requests.post(
        f"{way.url}/files", data=data, headers={"Content-Type": "application/json"}, timeout=10
    )

    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert "--fetch-from" in response.json()["detail"]
    assert "?name=" in response.json()["detail"]
    assert way.stored() == before


OTHER = {
    "another object": b'{"title": "x"}',
    "more than an order": b'{"url": "https://a.example", "note": "x"}',
    "a list": b'["url"]',
    "no JSON": b"{",
    "nothing": b"",
    "large": json.dumps({"url": "x" * (64 << 10)}).encode(),
    "larger": json.dumps({"data": "x" * 3_000_000}).encode(),
    "deep": b"[" * 60_000,
}


@pytest.mark.parametrize("kind", OTHER)
@pytest.mark.parametrize("chunks", [False, True])
def test_other_json_is_a_file_byte_for_byte(
    ways: Mapping[str, Way], kind: str, chunks: bool
) -> None:
    """The server inspects it first, and loses no byte of it."""
    way, data = ways["alone"], OTHER[kind]
    framing, body = (
        ("Transfer-Encoding: chunked", chunked(data, 9000))
        if chunks
        else (f"Content-Length: {len(data)}", data)
    )
    with Wire(way.port) as wire:
        wire.send(head("POST", "/files", "Content-Type: application/json", framing) + body)
        response = wire.answer()

    assert response.status == 201, response.body
    assert way.read(response.json()["files"][0]["key"]) == data


def test_an_import_request_with_a_name_is_a_file(ways: Mapping[str, Way]) -> None:
    """?name= makes it a file."""
    headers = {"Content-Type": "application/json"}
    response = requests.post(
        f"{ways['alone'].url}/files?name=order.json", data=ORDERS[0], headers=headers, timeout=10
    )

    assert response.status_code == 201


def test_truncated_json_is_not_stored(ways: Mapping[str, Way]) -> None:
    """A body that ends before its length is an error here too."""
    way = ways["alone"]
    before = way.stored()
    with Wire(way.port) as wire:
        wire.send(
            head("POST", "/files", "Content-Type: application/json", "Content-Length: 30")
            + b'{"url": "x"}'
        )
        wire.half_close()
        assert wire.answer().code == "body-cut"
    assert way.stored() == before


@pytest.mark.parametrize(
    "kind", ["image/*", "*/*", "application/octet-stream", "nonsense", "a/b\x80"]
)
def test_an_invalid_type_is_guessed_from_the_name(ways: Mapping[str, Way], kind: str) -> None:
    """A wildcard is a request for types, not a type.

    The server uses the name instead, by PUT, by POST and in a form's part.
    """
    way, headers = ways["alone"], {"Content-Type": kind.encode("latin-1")}
    put = requests.put(f"{way.url}/files/typed.png", data=noise(10), headers=headers, timeout=10)
    post = requests.post(
        f"{way.url}/files?name=typed.png", data=noise(10), headers=headers, timeout=10
    )
    body = form_body(("f", "typed.png", b"1")).replace(
        b"application/octet-stream", kind.encode("latin-1")
    )
    part = requests.post(f"{way.url}/files", data=body, headers=FORM, timeout=10)

    assert [response.json()["files"][0]["type"] for response in (put, post, part)] == [
        "image/png"
    ] * 3
    assert (
        requests.get(f"{way.url}/files/typed.png", timeout=10).headers["Content-Type"]
        == "image/png"
    )


def test_the_uploaders_charset_is_kept_and_none_is_added(ways: Mapping[str, Way]) -> None:
    """A text in windows-1252 is not served as UTF-8, and a text without a charset gets none."""
    url = f"{ways['alone'].url}/files"
    for content_type in ("text/csv; charset=windows-1252", "text/csv", "text/plain;charset=utf-8"):
        requests.put(
            f"{url}/words",
            data="é".encode("cp1252"),
            headers={"Content-Type": content_type},
            timeout=10,
        )
        assert requests.get(f"{url}/words", timeout=10).headers["Content-Type"] == content_type
    assert (
        requests.get(f"{url}/words", timeout=10).headers["Content-Disposition"].startswith("inline")
    )
