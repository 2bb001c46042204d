"""Events as the library of CloudEvents reads them."""

from __future__ import annotations

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from sluiceway.errors import BadRequest
from sluiceway.wire.events.cloud_events import MEDIA_TYPE, MOST_SOURCE, check_source, cloud_event


def test_its_attributes_and_data_are_read_back() -> None:
    data = {"key": "a\udcffb", "size": 3}
    text = cloud_event("evt_1", "t.x", "/files", "album/ü", 1.5, data, {"traceparent": "00-a"})
    event = from_http_event(HTTPMessage({"content-type": MEDIA_TYPE}, text.encode("ascii")))
    assert event.get_specversion() == "1.0"
    assert (event.get_id(), event.get_type(), event.get_source()) == ("evt_1", "t.x", "/files")
    assert event.get_subject() == "album/ü"
    assert event.get_time() is not None
    assert event.get_datacontenttype() == "application/json"
    assert event.get_extension("traceparent") == "00-a"
    assert event.get_data() == data


@pytest.mark.parametrize("key", ["a\x00\x1f\x7f", "\ud800", "\ufdd0", "\uffff"])
def test_a_subject_has_no_character_that_attributes_must_not_have(key: str) -> None:
    """The key itself is in the data."""
    text = cloud_event("i", "t", "/s", key, 0.0, {"key": key}, {})
    event = from_http_event(HTTPMessage({"content-type": MEDIA_TYPE}, text.encode()))
    assert set(str(event.get_subject())) <= {"a", "\ufffd"}
    assert event.get_data() == {"key": key}


def test_an_empty_subject_and_empty_extensions_are_left_out() -> None:
    text = cloud_event("i", "t", "/s", "", 0.0, {}, {"traceparent": ""})
    assert "subject" not in text
    assert "traceparent" not in text


@pytest.mark.parametrize("text", ["", "a b", "ü", "a\n", "x" * (MOST_SOURCE + 1)])
def test_a_source_is_a_uri_reference(text: str) -> None:
    assert check_source("https://files.example.com/files?a=%20#b")
    with pytest.raises(BadRequest):
        check_source(text)
