"""Patterns of an operator: one host, all below a domain, all; only web ports unless one is
named."""

from __future__ import annotations

import pytest

from sluiceway.errors import BadRequest, Forbidden, SluiceError
from sluiceway.wire.host_patterns import HostPattern, Hosts, parse_pattern
from sluiceway.wire.urls import parse_address


def allowed(pattern: str, url: str) -> bool:
    try:
        Hosts([pattern])(parse_address(url).url)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("files.example.com", "https://files.example.com/x"),
        ("files.example.com", "https://FILES.example.COM/x"),
        ("FILES.example.com.", "https://files.example.com./x"),
        ("files.example.com", "http://files.example.com:8080/"),
        ("files.example.com", "http://files.example.com:443/"),
        ("files.example.com", "https://user:secret@files.example.com/"),
        ("*.example.com", "https://a.example.com/"),
        ("*.example.com", "https://a.b.example.com/"),
        ("*", "https://anything.example/"),
        ("*", "http://192.0.2.7/"),
        ("*", "http://[2001:db8::7]/"),
        ("*:8443", "https://anything.example:8443/"),
        ("files.example.com:25", "http://files.example.com:25/"),
        ("files.example.com:443", "https://files.example.com/"),
        ("192.0.2.7", "http://192.0.2.7:9000/"),
        ("[2001:DB8::0:7]:81", "http://[2001:db8:0::7]:81/"),
        ("bücher.example", "https://xn--bcher-kva.example/"),
        ("*.bücher.example", "https://a.BÜCHER.example/"),
        ("my_host", "http://my_host/"),
    ],
)
def test_a_pattern_allows_its_hosts(pattern: str, url: str) -> None:
    """Case, a final dot and the spelling of letters do not matter."""
    assert allowed(pattern, url)


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("files.example.com", "https://example.com/"),
        ("files.example.com", "https://files.example.com.evil.example/"),
        ("files.example.com", "https://xfiles.example.com/"),
        ("files.example.com", "https://a.files.example.com/"),
        ("files.example.com", "https://files.example.com@evil.example/"),
        ("files.example.com", "https://evil.example/#@files.example.com"),
        ("files.example.com", "https://evil.example\\@files.example.org/"),
        ("*.example.com", "https://example.com/"),
        ("*.example.com", "https://badexample.com/"),
        ("*.example.com", "https://192.0.2.7/"),
        ("files.example.com", "http://files.example.com:22/"),
        ("files.example.com", "http://files.example.com:1023/"),
        ("*", "http://anything.example:25/"),
        ("*", "http://anything.example:0/"),
        ("files.example.com:8443", "https://files.example.com/"),
        ("files.example.com:8443", "https://files.example.com:8444/"),
        ("192.0.2.7", "http://192.0.2.8/"),
        ("192.0.2.7", "http://[::ffff:192.0.2.7]/"),
        ("*", "http://0x7f.1/"),
        ("*", "http://2130706433/"),
    ],
)
def test_a_pattern_refuses_other_hosts(pattern: str, url: str) -> None:
    """No neighbours, no similar names, no ports of other services."""
    assert not allowed(pattern, url)


def test_any_of_several_patterns_is_enough() -> None:
    """And without one nothing is allowed."""
    hosts = Hosts(["a.example", "b.example:81"])
    hosts("http://b.example:81/")

    with pytest.raises(Forbidden, match=r"b\.example port 80"):
        hosts("http://b.example/")
    with pytest.raises(Forbidden):
        Hosts([])("http://a.example/")


NO_PATTERNS = "|https://a.example|a.example/files|a:0|a:65536|a:|:80|a:b|*.|*.*|**|a.*|*a|a b|[a]"
NO_PATTERNS += "|a..b|0x7f.1|*.10.0.0.1|*.[::1]|::1"
NO_PATTERNS += "|[::1|[fe80::1%25eth0]|user@a|a:８０|" + "ä" * 100


@pytest.mark.parametrize("text", NO_PATTERNS.split("|"))
def test_an_invalid_pattern_is_refused_at_the_start(text: str) -> None:
    """A pattern that can never match, or matches by accident, is a mistake."""
    with pytest.raises(BadRequest):
        parse_pattern(text)


def test_a_pattern_has_one_canonical_form() -> None:
    """So that comparing is comparing text."""
    assert parse_pattern("*.Example.COM.:8443") == HostPattern("*.example.com", 8443)


@pytest.mark.parametrize("host", ["a" * 64, "a." * 127 + "abc", "a,b", "a~b", "exa%6dple.com"])
def test_an_invalid_host_is_refused(host: str) -> None:
    """A name that no name server can know is not looked up."""
    with pytest.raises(SluiceError) as caught:
        Hosts(["*"])(f"http://{host}/")

    assert caught.value.code == "bad-request"
