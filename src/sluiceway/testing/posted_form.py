"""A form as a test client posts it, with its parts in any order.

Test clients put fields before files, whatever order they are given; browsers send what the page
says. Knows no framework.
"""

from __future__ import annotations

import mimetypes
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from sluiceway.errors import BadRequest

__all__ = ["FormParts", "PostedForm", "form"]

FormParts = Mapping[str, object] | Iterable[tuple[str, object]]


class PostedForm(TypedDict):
    """Arguments of a test client's `post`.

    Attributes:
        data: The body.
        content_type: Its type with the boundary.
    """

    data: bytes
    content_type: str


def form(parts: FormParts, order: Sequence[str] = ()) -> PostedForm:
    """A form for a test client, with its parts in the order that you want.

    Args:
        parts: Names and values, as a dict or as pairs, in the order in which they are sent. A
            field is text or a number of bytes; a file is `(content, filename)` or
            `(content, filename, type)`, where the content is bytes, text or a binary file. A list
            sends the name once for each value.
        order: Names in another order; what it does not name follows in its own.

    Returns:
        `data` and `content_type`, for `client.post(path, **form(…))` of Flask and Django. With
        Starlette: `content=f["data"], headers={"Content-Type": f["content_type"]}`.

    Raises:
        BadRequest: `order` names a part that there is not, or a value is of another kind.

    Example:
        client.post("/books", **form({"title": "T", "file": (b"1", "a.txt")}, order=["file"]))
    """
    pairs = list(parts.items() if isinstance(parts, Mapping) else parts)
    flat = [
        (name, one)
        for name, value in pairs
        for one in (value if isinstance(value, list) else [value])
    ]
    unknown = [name for name in order if name not in {name for name, _ in flat}]
    if unknown:
        raise BadRequest(f"order names {unknown[0]!r}, which is not a part of the form")
    places = {name: at for at, name in enumerate(order)}
    flat.sort(key=lambda part: places.get(part[0], len(places)))
    boundary = f"sluiceway-{secrets.token_hex(8)}"
    body = b"".join(_part(boundary, name, value) for name, value in flat)
    return PostedForm(
        data=body + f"--{boundary}--\r\n".encode(),
        content_type=f"multipart/form-data; boundary={boundary}",
    )


def _part(boundary: str, name: str, value: object) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_escaped(name)}"'
    if isinstance(value, tuple):
        content, filename, kind = (*value, None)[:3]
        kind = kind or mimetypes.guess_type(filename)[0] or "application/octet-stream"
        head += f'; filename="{_escaped(filename)}"\r\nContent-Type: {kind}'
    else:
        content = value
    return head.encode() + b"\r\n\r\n" + _bytes(name, content) + b"\r\n"


def _bytes(name: str, content: object) -> bytes:
    read = getattr(content, "read", None)
    data = content if read is None else read(-1)
    if isinstance(data, str) and read is None:
        return data.encode()
    if not isinstance(data, bytes):
        raise BadRequest(f"The content of {name!r} is neither text, bytes nor a binary file")
    return data


def _escaped(name: str) -> str:
    """The three escapes of WHATWG."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
