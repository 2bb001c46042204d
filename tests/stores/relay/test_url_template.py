"""Where a file goes at the next server: templates that clients can fill and never bend."""

from __future__ import annotations

import pytest

from sluiceway.errors import BadForm, BadRequest
from sluiceway.stores.relay.url_template import MOST_VALUE, RelayUrl

BOOKS = "https://api.example/books"


def test_plain_places_stay_as_they_are() -> None:
    """No placeholder, nothing to fill in; a key goes below the place."""
    assert RelayUrl(BOOKS).fill({}) == BOOKS
    assert RelayUrl(BOOKS).below("a/b c.txt") == "https://api.example/books/a/b%20c.txt"
    assert RelayUrl(BOOKS + "/?v=1").below("x") == "https://api.example/books/x?v=1"


def test_placeholders_take_values_of_fields_and_query() -> None:
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
def test_a_value_is_one_segment(value: str, segment: str) -> None:
    """Question marks and percent signs of a client change neither path nor query."""
    assert (
        RelayUrl(BOOKS + "/{id}/file").fill({"id": value})
        == f"https://api.example/books/{segment}/file"
    )


BENT = [
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
    ["", ".", "..", "a\nb", "a\0b", "\x7f", "a\x85b", "\x9f", "x" * (MOST_VALUE + 1), *BENT],
)
def test_values_that_bend_a_path_are_refused(value: str) -> None:
    """Dots would climb at a server that decodes twice, control bytes would split the request."""
    with pytest.raises(BadForm):
        RelayUrl(BOOKS + "/{id}").fill({"id": value})


def test_harmless_values_that_climb_together_are_refused() -> None:
    """Each of two dots is a name; side by side they are a step up, and so is a dot beside one of the template."""
    for template, values in [
        ("/{a}{b}/x", {"a": ".", "b": "."}),
        ("/.{a}/x", {"a": "."}),
        ("/{a}%2e/x", {"a": "%2e"}),
    ]:
        with pytest.raises(BadForm):
            RelayUrl(BOOKS + template).fill(values)


@pytest.mark.parametrize("key", ["a/%2e%2e/b", "%2e%2e%2fadmin", "a/..%5cb"])
def test_a_key_cannot_climb_at_a_server_that_decodes_twice(key: str) -> None:
    """Its slashes are meant; what hides in its percent signs is not."""
    with pytest.raises(BadForm):
        RelayUrl(BOOKS + "/{key}").fill({"key": key})
    with pytest.raises(BadForm):
        RelayUrl(BOOKS).below(key)


def test_a_value_in_the_query_may_hold_slashes() -> None:
    """There they lead nowhere."""
    assert (
        RelayUrl(BOOKS + "/x?at={at}").fill({"at": "../a/b"})
        == "https://api.example/books/x?at=..%2Fa%2Fb"
    )


def test_a_path_given_is_exact() -> None:
    """--relay-url names the address itself, not a place with keys below it; so does a placeholder in --to."""
    assert RelayUrl(BOOKS, "/in").exact
    assert RelayUrl(BOOKS + "/{id}").exact
    assert not RelayUrl(BOOKS).exact


def test_names_may_have_any_letters() -> None:
    """Form fields are named in any language."""
    assert RelayUrl(BOOKS + "/{näme}").fill({"näme": "x"}) == "https://api.example/books/x"


def test_a_missing_value_is_named() -> None:
    """The client is told what to send, and where."""
    with pytest.raises(BadForm, match=r"'id'.*\?id=.*before the file"):
        RelayUrl(BOOKS + "/{id}").fill({"key": "k"})


def test_a_keys_slashes_stay() -> None:
    """A key was checked segment by segment."""
    assert (
        RelayUrl(BOOKS + "/{key}").fill({"key": "a/b ü"})
        == "https://api.example/books/a/b%20%C3%BC"
    )


def test_credentials_become_a_header() -> None:
    """They are in no URL that is sent, shown or logged."""
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
def test_templates_that_cannot_be_used_are_told_at_start(to: str, path: str | None) -> None:
    """Before the first client meets them."""
    with pytest.raises(BadRequest):
        RelayUrl(to, path)
