"""Signed links: none opens more than was signed, whatever is done to its text."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sluiceway
from sluiceway.errors import BadRequest
from sluiceway.uploads.access.grant import Right
from sluiceway.uploads.access.links import LinkKey, LinkLimits, SignedLink, new_link_key
from unicode_text import CHARACTERS

KEY, OTHER = LinkKey.parse(new_link_key()), LinkKey.parse(new_link_key())
LIMITS = LinkLimits(
    ("POST", "GET"),
    prefix="inbox/",
    max_size=1000,
    types=("image/*", "application/pdf"),
    count=3,
    expires=2e9,
    owner="ann",
    fields=(("order", "17"), ("shop", "ü")),
)
MADE, TEXT = SignedLink.make(LIMITS, KEY)
SECOND = SignedLink.make(LinkLimits(("GET",), key="a"), KEY)[1]
SYMBOLS = "ABCXYZabcxyz0189-_.=+/%~ \n\0ü"


def test_a_link_says_what_was_signed() -> None:
    assert SignedLink.read(TEXT, [OTHER, KEY]) == MADE
    assert MADE.limits == LIMITS
    grant = MADE.grant
    assert grant.rights == {Right.UPLOAD, Right.READ, Right.LIST}
    assert (grant.owner, grant.count, grant.fields) == ("ann", 3, LIMITS.fields)
    plain = SignedLink.make(LinkLimits(key="k"), KEY)[0].grant
    assert plain.rights == {Right.UPLOAD}
    assert plain.owner == f"link:{plain.link}"


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_changed_link_opens_nothing(data: st.DataObject) -> None:
    """Characters changed, left out, added, exchanged, or taken from another link."""
    at = data.draw(st.integers(0, len(TEXT) - 1))
    other = data.draw(st.integers(0, len(TEXT) - 1))
    symbol = data.draw(st.sampled_from(SYMBOLS))
    exchanged = list(TEXT)
    exchanged[at], exchanged[other] = exchanged[other], exchanged[at]
    for changed in (
        TEXT[:at] + symbol + TEXT[at + 1 :],
        TEXT[:at] + TEXT[at + 1 :],
        TEXT[:at] + symbol + TEXT[at:],
        "".join(exchanged),
        TEXT[:at] + TEXT[at].swapcase() + TEXT[at + 1 :],
        TEXT[: min(at, other)] + TEXT[max(at, other) :],
    ):
        if changed != TEXT:
            assert SignedLink.read(changed, [KEY]) is None


@given(
    st.text(CHARACTERS, max_size=200)
    | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1"))
)
@settings(max_examples=40, deadline=None)
def test_no_other_text_is_a_link(text: str) -> None:
    assert SignedLink.read(text, [KEY]) is None
    assert SignedLink.read(text + TEXT, [KEY]) is None or text == ""


def test_parts_encodings_and_keys_cannot_be_exchanged() -> None:
    """Each bit of the last characters counts, though base64 would ignore some of them."""
    payload, signature = TEXT.split(".")
    other_payload, other_signature = SECOND.split(".")
    values = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    reordered = json.dumps(dict(reversed(values.items())), separators=(",", ":"))
    again = base64.urlsafe_b64encode(reordered.encode()).decode().rstrip("=")
    for text in (
        f"{payload}.{other_signature}",
        f"{other_payload}.{signature}",
        f"{signature}.{payload}",
        f"{again}.{signature}",
        f"{payload}=.{signature}",
        f"{payload}.{signature}=",
        f"{payload}.{signature}\n",
        f"{payload}.{signature}.{signature}",
        f"{payload}.",
        f".{signature}",
        payload,
        quote(TEXT, safe="").replace(".", "%2E"),
        TEXT.upper(),
        "",
    ):
        assert SignedLink.read(text, [KEY]) is None, text
    assert SignedLink.read(unquote(quote(TEXT)), [KEY]) == MADE  # what a URL carries as it is
    assert SignedLink.read(TEXT, [OTHER]) is None
    assert SignedLink.read(TEXT, []) is None
    symbols = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    opened = [last for last in symbols if SignedLink.read(TEXT[:-1] + last, [KEY])]
    assert opened == [TEXT[-1]]


@pytest.mark.parametrize(
    "limits",
    [
        {"key": "a", "prefix": "b/"},
        {},
        {"prefix": "b"},
        {"prefix": "../"},
        {"prefix": "/"},
        {"key": "../a"},
        {"key": "a", "methods": ("DELETE",)},
        {"key": "a", "methods": ()},
        {"key": "a", "count": 0},
        {"key": "a", "methods": ("GET",), "count": 3},
        {"key": "a", "methods": ("GET",), "quota": 0},
        {"key": "a", "types": ("image",)},
        {"key": "a", "types": ("*/*",)},
        {"key": "a", "owner": "a\nb"},
        {"key": "a", "fields": (("owner", "me"),)},
        {"key": "a", "fields": (("Upper", "x"),)},
        {"key": "a", "fields": (("x", "a\r\nb"),)},
        {"key": "a", "fields": (("x", "y" * 1025),)},
    ],
)
def test_what_cannot_be_meant_is_not_signed(limits: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        SignedLink.make(LinkLimits(**limits), KEY)  # type: ignore[arg-type]


@pytest.mark.parametrize("server", ["files.example", "ftp://files.example", "https://", "/x", ""])
def test_a_link_has_the_address_of_a_server(server: str) -> None:
    with pytest.raises(BadRequest, match="address of a server"):
        sluiceway.link(server, KEY.text, key="a")


@pytest.mark.parametrize("secret", ["", "lk_", "lk_short", "A" * 43, f"lk_{'!' * 43}"])
def test_a_key_is_long_and_random(secret: str) -> None:
    with pytest.raises(BadRequest) as refused:
        sluiceway.link("https://files.example/", secret, key="a")
    assert "new-key" in refused.value.detail


def test_a_link_has_a_bound() -> None:
    with pytest.raises(BadRequest, match="4096 characters"):
        sluiceway.link("https://files.example/", KEY.text, prefix=f"{'x/' * 2000}")
    assert SignedLink.read("A" * 5000 + "." + "A" * 43, [KEY]) is None
