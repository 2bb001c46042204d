"""How a file is wrapped for the next server: the four ways, their lengths and headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from sluiceway.stores.contract import Replace, UploadRequest
from sluiceway.stores.relay.request import build_request
from sluiceway.wire.forms.decoder import FormDecoder, PartBegan, PartData

TOKEN = bytes(range(16))


@dataclass(frozen=True)
class Said:
    method: str | None = None
    body: str = "same"
    form_field: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


RAW = UploadRequest(key="k", filename="Bücher 1.pdf", type="application/pdf", method="POST")
FORM = UploadRequest(
    key="k", filename="Bücher 1.pdf", type="application/pdf", method="POST", field="book"
)


@pytest.mark.parametrize(
    ("said", "upload_request", "as_form"),
    [
        (Said(), RAW, False),
        (Said(), FORM, True),
        (Said(body="form"), RAW, True),
        (Said(body="raw"), FORM, False),
    ],
)
def test_the_four_ways(said: Said, upload_request: UploadRequest, as_form: bool) -> None:
    """Raw or form in, raw or form out; as it came unless the operator says otherwise."""
    envelope = build_request(said, upload_request, [], TOKEN)
    assert (envelope.encoder is not None) is as_form
    assert envelope.headers["content-type"].startswith(
        "multipart/form-data" if as_form else "application/pdf"
    )
    assert bool(envelope.head) is bool(envelope.end()) is as_form


def test_a_form_carries_fields_name_and_type() -> None:
    """The operator's fields, then the client's, then the file under its field; what comes later follows it."""
    envelope = build_request(Said(fields=(("source", "web"),)), FORM, [("id", "42")], TOKEN)
    body = envelope.head + b"DATA" + envelope.end([("late", "1")])
    events = FormDecoder(envelope.headers["content-type"]).feed(body)
    assert [
        (event.name, event.filename, event.type) for event in events if isinstance(event, PartBegan)
    ] == [
        ("source", None, "text/plain"),
        ("id", None, "text/plain"),
        ("book", "Bücher 1.pdf", "application/pdf"),
        ("late", None, "text/plain"),
    ]
    assert b"DATA" in [event.data for event in events if isinstance(event, PartData)]


def test_the_length_is_that_of_the_body() -> None:
    """Content-Length is right for a file of any size."""
    envelope = build_request(Said(form_field="upload"), RAW, [("a", "b")], TOKEN)
    assert envelope.encoder is None  # a field's name alone makes no form: `body` does
    envelope = build_request(Said(body="form", form_field="upload"), RAW, [("a", "b")], TOKEN)
    assert envelope.length(4) == len(envelope.head + b"DATA" + envelope.end())


@pytest.mark.parametrize(
    ("upload_request", "headers"),
    [
        (UploadRequest(method="PUT", replace=Replace()), {"if-none-match": "*"}),
        (UploadRequest(method="PUT", replace=Replace(True, "v1")), {"if-match": '"v1"'}),
        (UploadRequest(method="PUT", replace=Replace(True)), {}),
        (UploadRequest(method="POST", replace=Replace()), {}),
    ],
)
def test_conditions_go_on_with_a_put(
    upload_request: UploadRequest, headers: dict[str, str]
) -> None:
    """Only the destination knows what is there."""
    sealed = build_request(Said(), upload_request, [], TOKEN).headers
    assert {name: value for name, value in sealed.items() if name.startswith("if-")} == headers


def test_what_the_operator_gave_stays_with_its_host() -> None:
    """A redirect to another origin takes no key along."""
    envelope = build_request(Said(headers={"X-Api-Key": "s3cret"}), RAW, [], TOKEN)
    assert envelope.headers["x-api-key"] == "s3cret"
    assert "x-api-key" in envelope.headers_across("https://a.example/1", "https://a.example/2")
    across = envelope.headers_across("https://a.example/1", "https://b.example/1")
    assert "x-api-key" not in across
    assert across["content-type"] == "application/pdf"
