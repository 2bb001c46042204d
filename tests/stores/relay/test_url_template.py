"""URL templates of the next server: clients fill them and cannot change where they lead."""

from __future__ import annotations

import pytest

from sluiceway.errors import BadForm, BadRequest
from sluiceway.stores.relay.url_template import MOST_VALUE, RelayUrl

BOOKS = "https://api.example/books"


def test_a_url_without_placeholders_is_used_as_it_is() -> None:
    """A key is appended to its path."""
    assert RelayUrl(BOOKS).fill({}) == BOOKS
    assert RelayUrl(BOOKS).below("a/b c.txt") == "https://api.example/books/a/b%20c.txt"
    assert RelayUrl(BOOKS + "/?v=1").below("x") == "https://api.example/books/x?v=1"


def test_placeholders_are_filled_with_fields_and_query_values() -> None:
    """`?id=42` leads to /books/42/file."""
    url = RelayUrl(BOOKS, "/books/{id}/file")
    assert url.fill({"id": "42"}) == "https://api.example/books/42/file"


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        ("a?b#c", "a%3Fb%23c"),
        ("über", "%C3%BCber"),
        ("a%2Fb", "a%252Fb"),
        ("a b", "a%20b"),
        ("{key}", "%7Bkey%7D"),
    ],
)
def test_a_value_becomes_one_segment(value: str, segment: str) -> None:
    """A client's question marks and percent signs change neither path nor query."""
    assert (
        RelayUrl(BOOKS + "/{id}/file").fill({"id": value})
        == f"https://api.example/books/{segment}/file"
    )


CLIMBING = [
    *(
        "a/b",
        "a\\b",
        "../x",
        "..%2Fadmin",
        "%2e%2e",
        "%252e%252e",
        "..%5Cadmin",
        "a%2f.%2fb",
        "..;",
        "..;a=1",
        ". .",
        "...",
    ),
    *("a%00", "a%2500b"),
]


@pytest.mark.parametrize(
    "value",
    ["", ".", "..", "a\nb", "a\0b", "\x7f", "a\x85b", "\x9f", "x" * (MOST_VALUE + 1), *CLIMBING],
)
def test_values_that_change_the_path_are_refused(value: str) -> None:
    """A server that decodes twice would follow `..`; control bytes would split the request."""
    with pytest.raises(BadForm):
        RelayUrl(BOOKS + "/{id}").fill({"id": value})


def test_harmless_values_that_climb_together_are_refused() -> None:
    """One dot is a name. Two values, or a value and the template, can make a `..` together."""
    for template, values in [
        ("/{a}{b}/x", {"a": ".", "b": "."}),
        ("/.{a}/x", {"a": "."}),
        ("/{a}%2e/x", {"a": "%2e"}),
    ]:
        with pytest.raises(BadForm):
            RelayUrl(BOOKS + template).fill(values)


@pytest.mark.parametrize("key", ["a/%2e%2e/b", "%2e%2e%2fadmin", "a/..%5cb"])
def test_a_key_cannot_climb_at_a_server_that_decodes_twice(key: str) -> None:
    """Slashes of a key are kept; slashes and dots behind its percent signs are refused."""
    with pytest.raises(BadForm):
        RelayUrl(BOOKS + "/{key}").fill({"key": key})
    with pytest.raises(BadForm):
        RelayUrl(BOOKS).below(key)


def test_a_value_in_the_query_may_hold_slashes() -> None:
    """A query has no segments."""
    assert (
        RelayUrl(BOOKS + "/x?at={at}").fill({"at": "../a/b"})
        == "https://api.example/books/x?at=..%2Fa%2Fb"
    )


def test_a_configured_path_is_exact() -> None:
    """--relay-url, and a placeholder in --to, name the URL itself: no key is appended."""
    assert RelayUrl(BOOKS, "/in").exact
    assert RelayUrl(BOOKS + "/{id}").exact
    assert not RelayUrl(BOOKS).exact


def test_placeholder_names_may_have_any_letters() -> None:
    """Form fields are named in any language."""
    assert RelayUrl(BOOKS + "/{näme}").fill({"näme": "x"}) == "https://api.example/books/x"


def test_a_missing_value_is_named() -> None:
    """The error says what to send, and where."""
    with pytest.raises(BadForm, match=r"'id'.*\?id=.*before the file"):
        RelayUrl(BOOKS + "/{id}").fill({"key": "k"})


def test_a_keys_slashes_are_kept() -> None:
    """Each segment of a key was checked before."""
    assert (
        RelayUrl(BOOKS + "/{key}").fill({"key": "a/b ü"})
        == "https://api.example/books/a/b%20%C3%BC"
    )


def test_credentials_become_a_header() -> None:
    """No URL that is sent, shown or logged contains them."""
    url = RelayUrl("https://ann:p%40ss@api.example/books", "{id}")
    assert url.address.authorization == "Basic YW5uOnBAc3M="
    assert "ann" not in url.fill({"id": "1"})


@pytest.mark.parametrize(
    ("to", "path"),
    [
        ("https://{host}/x", None),
        ("https://api.example/{", None),
        ("https://api.example/{}", None),
        (BOOKS, "https://other.example/x"),
        (BOOKS, "//other.example/x"),
        (BOOKS, "http://api.example/x"),
        ("https://api.example:99999/", None),
    ],
)
def test_unusable_templates_are_refused_at_start(to: str, path: str | None) -> None:
    """The operator sees the error, not the first client."""
    with pytest.raises(BadRequest):
        RelayUrl(to, path)
