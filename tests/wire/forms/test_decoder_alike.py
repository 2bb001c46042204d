"""A form is read as Werkzeug and aiohttp read it, and a plain one as Django does."""

from __future__ import annotations

import asyncio
from io import BytesIO

from aiohttp import BodyPartReader, MultipartReader, StreamReader
from aiohttp.base_protocol import BaseProtocol
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http.multipartparser import MultiPartParser
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.formparser import parse_form_data

import django_site  # noqa: F401 - configures Django, once for all tests of a process
from sluiceway.testing.splits import cut_at_random
from wire.forms.outcomes import outcome

Read = list[tuple[str, str | None, bytes]]
TYPE = "multipart/form-data; boundary=%s"


def ours(body: bytes, boundary: str, seed: int) -> Read:
    found = outcome(cut_at_random(body, seed).pieces, TYPE % boundary)
    assert found.error == ""
    return [(part.name, part.filename, part.data) for part in found.parts]


def of_werkzeug(body: bytes, boundary: str) -> Read:
    environ = {
        "wsgi.input": BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": TYPE % boundary,
        "REQUEST_METHOD": "POST",
    }
    _, fields, files = parse_form_data(environ)
    read: Read = [(name, None, value.encode()) for name, value in fields.items(multi=True)]
    for name, file in files.items(multi=True):
        read.append((name, file.filename, file.read()))
        file.close()
    return read


def of_django(body: bytes, boundary: str) -> Read:
    meta = {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": TYPE % boundary}
    fields, files = MultiPartParser(
        meta, BytesIO(body), [MemoryFileUploadHandler()], "utf-8"
    ).parse()
    read: Read = [
        (name, None, value.encode()) for name, values in fields.lists() for value in values
    ]
    return read + [
        (name, file.name, file.read()) for name, several in files.lists() for file in several
    ]


def of_aiohttp(body: bytes, boundary: str) -> Read:
    async def read() -> Read:
        stream = StreamReader(
            BaseProtocol(asyncio.get_running_loop()), 1 << 16, loop=asyncio.get_running_loop()
        )
        stream.feed_data(body)
        stream.feed_eof()
        found: Read = []
        async for part in MultipartReader({"Content-Type": TYPE % boundary}, stream):
            assert isinstance(part, BodyPartReader)
            found.append((part.name or "", part.filename, bytes(await part.read())))
        return found

    return asyncio.run(read())


PAYLOAD = st.lists(
    st.sampled_from([b"", b"x", b"\r\n", b"\n", b"-", b"--", b"\r", b"yy\r\n-", b"=", b"a b"]),
    max_size=6,
).map(b"".join)


@st.composite
def forms(draw: st.DrawFn) -> tuple[bytes, str, Read]:
    """A form as clients write it, its boundary, and what was put into it."""
    boundary = draw(st.sampled_from(["B7x", "*****", "$", "----WebKitFormBoundary7MA4YWxkTrZu0gW"]))
    line, pad = b"--" + boundary.encode(), draw(st.sampled_from([b"", b"", b" ", b"\t "]))
    body, put = b"", Read()
    for number in range(draw(st.integers(1, 4))):
        payload, is_file = draw(PAYLOAD), draw(st.booleans())
        if line in payload:
            payload = b""
        name = f"n{number}"
        filename = b'; filename="f%d.txt"' % number if is_file else b""
        kind = b"Content-Type: text/plain\r\n" if is_file and draw(st.booleans()) else b""
        body += b'%s%s\r\nContent-Disposition: form-data; name="%s"%s\r\n%s\r\n' % (
            line,
            pad,
            name.encode(),
            filename,
            kind,
        )
        bare = not payload and draw(st.booleans())  # the head's CRLF is the boundary's, too
        body += payload if bare else payload + b"\r\n"
        put.append((name, f"f{number}.txt" if is_file else None, payload))
    return body + line + b"--" + pad + b"\r\n", boundary, put


def in_order(read: Read) -> Read:
    return sorted(read, key=lambda part: part[0])


@given(forms(), st.integers(0, 1 << 16))
def test_a_form_is_read_as_other_decoders_read_it(form: tuple[bytes, str, Read], seed: int) -> None:
    """Empty parts with and without a CRLF of their own, white space, odd boundaries."""
    body, boundary, put = form
    assert ours(body, boundary, seed) == put
    assert in_order(of_werkzeug(body, boundary)) == put
    assert in_order(of_aiohttp(body, boundary)) == put
    plain = b"\r\n\r\n--" not in body and f"--{boundary}--\r\n".encode() in body
    # Django loses a last part whose boundary follows its head, and parts in front of white space
    if plain:
        assert in_order(of_django(body, boundary)) == put
