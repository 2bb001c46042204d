"""How a file becomes a request."""

from __future__ import annotations

import pytest

from sluiceway.client.file_request import form_request, is_form, put_request


@pytest.mark.parametrize(
    ("url", "form", "field", "expected"),
    [
        ("http://h/files/a", [], None, False),
        ("http://h/files", [], None, True),
        ("http://h/x/files?a=1", [], None, True),
        ("http://h/files/", [], None, False),
        ("http://h/myfiles", [], None, False),
        ("http://h/books", [("id", "42")], None, True),
        ("http://h/books", [], "cover", True),
    ],
)
def test_forms_go_to_files_and_wherever_fields_are_given(
    url: str, form: list[tuple[str, str]], field: str | None, expected: bool
) -> None:
    """The URL's end decides, unless fields do."""
    assert is_form(url, form, field) is expected


def test_a_put_names_its_object() -> None:
    """Behind a slash comes the file's name, otherwise the URL is the name."""
    assert put_request("http://h/d/", "a/b c", "text/plain").url == "http://h/d/a/b%20c"
    assert put_request("http://h/d", "a", "text/plain").url == "http://h/d"


def test_fields_come_before_the_file() -> None:
    """The server knows what the file belongs to when its first byte arrives."""
    shape = form_request(
        "http://h/files", 'a"b.txt', "text/plain", [("id", "42")], "cover", bytes(16)
    )
    boundary = shape.type.partition("boundary=")[2].encode()

    assert shape.method == "POST"
    assert shape.head == (
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="id"\r\n\r\n42\r\n'
        b"--"
        + boundary
        + b'\r\nContent-Disposition: form-data; name="cover"; filename="a%22b.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n"
    )
    assert shape.tail == b"\r\n--" + boundary + b"--\r\n"
