"""Text from URLs is decoded strictly and once; hosts and origins have one form."""

from __future__ import annotations

import pytest

from sluiceway.errors import BadName, BadRequest
from sluiceway.wire.request_targets import (
    Authority,
    Origin,
    check_path,
    decode_path,
    decode_query,
    encode_query,
    parse_authority,
    parse_origin,
)


@pytest.mark.parametrize(
    "raw", [b"%E9", b"\xe9", b"%c0%80", b"%ed%a0%80", b"%f4%90%80%80", b"a%ffb", b"%e2%82"]
)
def test_bytes_that_are_not_utf_8_are_refused_not_repaired(raw: bytes) -> None:
    with pytest.raises(BadName):
        decode_path(b"/files/" + raw)
    for query in (b"a=" + raw, raw + b"=a", b"b=1&" + raw):
        with pytest.raises(BadName):
            decode_query(query)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"/caf%C3%A9", "/café"),
        ("/café".encode(), "/café"),
        (b"/a+b", "/a+b"),
        (b"/%EF%BF%BD", "/\ufffd"),
        (b"/100%", "/100%"),
    ],
)
def test_a_path_is_decoded_exactly(raw: bytes, text: str) -> None:
    """A plus is a plus in a path; a percent sign alone is one."""
    assert decode_path(raw) == text


def test_a_query_is_read_as_forms_write_it_and_survives_being_written_again() -> None:
    raw = "a=1&b=x+y%2Bz&b=&c&&=d&caf%C3%A9=é".encode()
    pairs = [("a", "1"), ("b", "x y+z"), ("b", ""), ("c", ""), ("", "d"), ("café", "é")]
    assert decode_query(raw) == pairs
    assert decode_query(encode_query(pairs)) == pairs
    assert encode_query(pairs).isascii()


@pytest.mark.parametrize("symbol", ["\0", "\n", "\r", "\t", "\x1f", "\x7f", "\x80", "\x9f"])
def test_no_control_character_passes(symbol: str) -> None:
    for path in (f"/a{symbol}", f"{symbol}/a", f"/a{symbol}b"):
        with pytest.raises(BadName):
            check_path(path)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("NAS.Lan", "nas.lan", None),
        ("nas.lan.:80", "nas.lan", 80),
        ("[0:0:0::1]:8000", "::1", 8000),
        ("127.0.0.1:", "127.0.0.1", None),
        ("", "", None),
    ],
)
def test_hosts_have_one_form(text: str, host: str, port: int | None) -> None:
    assert parse_authority(text) == Authority(host, port)


@pytest.mark.parametrize(
    "text", ["[", "[::g]", "a b", "a/b", "user@host", "a:b", "a:1:2", "::1", "a:123456", "a\x00"]
)
def test_an_invalid_host_field_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_authority(text)


def test_an_origin_is_at_its_host_with_the_port_its_scheme_has() -> None:
    origin = parse_origin("http://NAS.lan")
    assert origin == Origin("http", "nas.lan", 80)
    assert [
        origin.is_at(parse_authority(host))
        for host in ("nas.lan", "nas.lan:80", "nas.lan.", "nas.lan:8080")
    ] == [True] * 3 + [False]
    assert parse_origin("null") is None
    for text in ("http://[", "nas.lan", "http://", "http://a/b", "http://u@h"):
        with pytest.raises(BadRequest):
            parse_origin(text)
