"""How a file is sent to the next server: the four ways, their lengths and headers."""

from __future__ import annotations

import pytest

from sluiceway.stores.contract import Replace, UploadRequest
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.request import build_request
from sluiceway.stores.relay.url_template import RelayUrl
from sluiceway.wire.forms.decoder import FormDecoder, PartBegan, PartData

TOKEN = bytes(range(16))


URL = RelayUrl("https://next.example/")
AS_IT_CAME = Backend(URL)
RAW = UploadRequest(key="k", filename="Bücher 1.pdf", type="application/pdf", method="POST")
FORM = UploadRequest(
    key="k", filename="Bücher 1.pdf", type="application/pdf", method="POST", field="book"
)


@pytest.mark.parametrize(
    ("backend", "upload_request", "as_form"),
    [
        (AS_IT_CAME, RAW, False),
        (AS_IT_CAME, FORM, True),
        (Backend(URL, body="form"), RAW, True),
        (Backend(URL, body="raw"), FORM, False),
    ],
)
def test_a_file_goes_raw_or_in_a_form(
    backend: Backend, upload_request: UploadRequest, as_form: bool
) -> None:
    """As it came, unless the operator configured otherwise."""
    request = build_request(backend, upload_request, [], TOKEN)
    assert (request.encoder is not None) is as_form
    assert request.headers["content-type"].startswith(
        "multipart/form-data" if as_form else "application/pdf"
    )
    assert bool(request.head) is bool(request.end()) is as_form


def test_a_form_carries_fields_name_and_type() -> None:
    """The operator's fields, the client's, the file under its field, then later fields."""
    request = build_request(Backend(URL, fields=(("source", "web"),)), FORM, [("id", "42")], TOKEN)
    body = request.head + b"DATA" + request.end([("late", "1")])
    events = FormDecoder(request.headers["content-type"]).feed(body)
    assert [
        (event.name, event.filename, event.type) for event in events if isinstance(event, PartBegan)
    ] == [
        ("source", None, "text/plain"),
        ("id", None, "text/plain"),
        ("book", "Bücher 1.pdf", "application/pdf"),
        ("late", None, "text/plain"),
    ]
    assert b"DATA" in [event.data for event in events if isinstance(event, PartData)]


def test_the_length_is_that_of_the_whole_body() -> None:
    """Content-Length is right for a file of any size."""
    request = build_request(Backend(URL, form_field="upload"), RAW, [("a", "b")], TOKEN)
    assert request.encoder is None  # a field's name alone makes no form: `body` does
    request = build_request(
        Backend(URL, body="form", form_field="upload"), RAW, [("a", "b")], TOKEN
    )
    assert request.length(4) == len(request.head + b"DATA" + request.end())


@pytest.mark.parametrize(
    ("upload_request", "headers"),
    [
        (UploadRequest(method="PUT", replace=Replace()), {"if-none-match": "*"}),
        (UploadRequest(method="PUT", replace=Replace(True, "v1")), {"if-match": '"v1"'}),
        (UploadRequest(method="PUT", replace=Replace(True)), {}),
        (UploadRequest(method="POST", replace=Replace()), {}),
    ],
)
def test_preconditions_are_passed_on_with_a_put(
    upload_request: UploadRequest, headers: dict[str, str]
) -> None:
    """Only the destination knows which object is there; a POST names none."""
    headers_sent = build_request(AS_IT_CAME, upload_request, [], TOKEN).headers
    assert {
        name: value for name, value in headers_sent.items() if name.startswith("if-")
    } == headers


def test_the_operators_headers_stay_with_their_host() -> None:
    """A redirect to another origin gets no API key."""
    request = build_request(Backend(URL, headers={"X-Api-Key": "s3cret"}), RAW, [], TOKEN)
    assert request.headers["x-api-key"] == "s3cret"
    assert "x-api-key" in request.headers_across("https://a.example/1", "https://a.example/2")
    across = request.headers_across("https://a.example/1", "https://b.example/1")
    assert "x-api-key" not in across
    assert across["content-type"] == "application/pdf"
