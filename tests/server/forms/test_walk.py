"""One walk over a form, without I/O: the same parts for every split, in the order sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from raw_http import BOUNDARY, form_body
from sluiceway.errors import BadForm, DigestMismatch
from sluiceway.server.forms.walk import FileBegan, FileEnded, FormField, FormItem, FormWalk

TYPE = f"multipart/form-data; boundary={BOUNDARY}"
BODY = form_body(
    ("title", None, b"T"),
    ("empty", "", b""),
    ("first", "a.bin", b"bytes\r\n--" * 3),
    ("blank", None, b""),
    ("unnamed", "", b"has bytes"),
    ("last", "b.bin", b"end"),
)
WHOLE = [
    FormField("title", "T"),
    ("first", "a.bin", b"bytes\r\n--" * 3),
    FormField("blank", ""),
    ("unnamed", "", b"has bytes"),
    ("last", "b.bin", b"end"),
]
RIGHT = {"sha-256": hashlib.sha256(BODY).digest()}


def walk(*pieces: bytes, expected: dict[str, bytes] | None = None) -> Iterator[FormItem]:
    form = FormWalk(TYPE, length=len(BODY), expected=expected or {})
    for piece in pieces:
        form.wait()
        yield from form.feed(piece)
    yield from form.close()


def gathered(items: Iterator[FormItem]) -> list[object]:
    """The fields, and the files as tuples with all of their bytes."""
    found: list[object] = []
    file: FileBegan | None = None
    data = b""
    for item in items:
        if isinstance(item, FileBegan):
            assert file is None
            file, data = item, b""
        elif isinstance(item, bytes):
            assert item
            data += item
        elif isinstance(item, FileEnded):
            assert file is not None
            found.append((file.name, file.filename, data))
            file = None
        else:
            found.append(item)
    assert file is None
    return found


@pytest.mark.parametrize("expected", [{}, RIGHT], ids=["no digest", "a digest"])
def test_every_split_gives_the_same_parts(expected: dict[str, bytes]) -> None:
    """An empty file input is skipped; a file without a name but with bytes is a part."""
    for at in range(len(BODY) + 1):
        assert gathered(walk(BODY[:at], BODY[at:], expected=expected)) == WHOLE
    assert gathered(walk(*[bytes([byte]) for byte in BODY], expected=expected)) == WHOLE


def test_the_size_of_a_last_file_is_known() -> None:
    """It follows from the length of the body, if nothing follows the file."""
    sizes = {item.name: item.size for item in walk(BODY) if isinstance(item, FileBegan)}

    assert sizes["last"] == 3
    assert sizes["first"] != len(WHOLE[1][2])  # type: ignore[index]  # other parts follow it


@pytest.mark.parametrize("last", [b"", b"x", b"end"])
def test_a_file_ends_with_its_form_or_before_the_next_part(last: bytes) -> None:
    """Cut behind the file at any byte, it has no end; and not all bytes, if their number is known:
    a server that gets them from a view with that length would keep them."""
    body = form_body(("first", "a.bin", b"a"), ("last", "b.bin", last))
    for length in (len(body), None):
        for at in range(body.rindex(b"\r\n\r\n") + 4, len(body) + 1):
            form = FormWalk(TYPE, length=length)
            items = form.feed(body[: at - 1]) + form.feed(body[at - 1 : at])
            assert items.count(FileEnded()) == 1
            given = b"".join(item for item in items if isinstance(item, bytes))
            assert length is None or not last or len(given) <= len(last)
        items += form.close()
        assert items.count(FileEnded()) == 2
        assert b"".join(item for item in items if isinstance(item, bytes)) == b"a" + last


@pytest.mark.parametrize("last", [("last", "b.bin", b"end"), ("last", None, b"end")])
def test_the_last_part_ends_with_a_checked_body(last: tuple[str, str | None, bytes]) -> None:
    """With a wrong digest it does not end, but the parts before it do."""
    body = form_body(("first", "a.bin", b"a"), last)
    items = walk(body, expected={"sha-256": bytes(32)})
    seen: list[FormItem] = []
    with pytest.raises(DigestMismatch):
        seen.extend(items)
    kinds = [type(item) for item in seen]

    assert kinds == [FileBegan, bytes, FileEnded] + [FileBegan, bytes] * (last[1] is not None)


def test_a_truncated_form_has_no_end() -> None:
    """For every length that ends before the last boundary is complete."""
    for at in range(BODY.rindex(b"--")):
        with pytest.raises(BadForm):
            gathered(walk(BODY[:at]))
