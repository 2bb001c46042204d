"""A multipart form that streams, as a body for requests, httpx, urllib3 and aiohttp.

It has its exact length. Files are read when the HTTP library asks for the next piece, and once more
for a redirect or a retry, where they allow it. `wire.forms.encoder` makes the bytes around them.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Self

from sluiceway.client.bodies.aiohttp_body import register_with_aiohttp
from sluiceway.client.bodies.inputs import BodyInput, Content, body_input
from sluiceway.client.bodies.sized import OnSent, acounted, aexact, counted, exact
from sluiceway.errors import BadRequest
from sluiceway.pipe.source import Buffer
from sluiceway.wire.forms.encoder import FormEncoder, form_length, new_boundary
from sluiceway.wire.headers.media_types import guess_type

__all__ = ["Form"]

NAMELESS = "file"  # a part is a file by its filename, so it needs one


class Form:
    """A multipart/form-data body for any HTTP client (RFC 7578), which streams its files.

    Parts are sent in the order in which they are added. Add fields before files: many servers need
    them to know where a file belongs.

    Args:
        fields: Names and values of fields; values are text or bytes.
        on_progress: Called as `on_progress(sent, length)` with bytes that the HTTP library took
            (not those that the server has; `sluiceway.copy` reports those). `length` is None when
            it is unknown.

    Raises:
        BadRequest: A field's value is neither text nor bytes.

    Example:
        form = sluiceway.Form({"title": "The book"}).file("file", "book.pdf")
        requests.post(url, data=form, headers=form.headers)
        httpx.post(url, content=form, headers=form.headers)  # AsyncClient: content=aiter(form)
        urllib3.request("POST", url, body=form, headers=form.headers)
        await session.post(url, data=form, headers=form.headers)  # aiohttp
    """

    def __init__(
        self,
        fields: Mapping[str, str | Buffer] | Iterable[tuple[str, str | Buffer]] = (),
        on_progress: OnSent | None = None,
    ) -> None:
        self._encoder = FormEncoder(new_boundary(secrets.token_bytes(16)))
        self._parts: list[bytes | BodyInput] = []  # the files, and the bytes between them
        self._on_progress = on_progress
        self.content_type: str = self._encoder.content_type
        register_with_aiohttp(type(self))
        for name, value in fields.items() if isinstance(fields, Mapping) else fields:
            self.field(name, value)

    def field(
        self,
        name: str,
        value: str | Buffer,
        *,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Add a field.

        Args:
            name: The field's name.
            value: Text or bytes.
            type: Its media type, where it is not plain text, such as application/json.
            headers: More headers of this part.

        Returns:
            The form itself.

        Raises:
            BadRequest: The value is neither text nor bytes.
            BadForm: A part cannot carry this type or header.

        Example:
            form.field("meta", json.dumps(meta), type="application/json")
        """
        if not isinstance(name, str):
            raise BadRequest(f"The name of a field is a str, not {name!r} ({_kind(name)})")
        if not isinstance(value, str | bytes | bytearray | memoryview):
            raise BadRequest(
                f"The value of field {name!r} is {_kind(value)}; a form carries text and bytes, "
                "so give str(…) or json.dumps(…)"
            )
        content = value if isinstance(value, str) else bytes(value)
        self._parts.append(self._encoder.field(name, content, type, headers))
        return self

    def file(
        self,
        name: str,
        source: Content,
        *,
        filename: str | None = None,
        type: str | None = None,
        size: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Add a file.

        Args:
            name: The field's name.
            source: A path, a binary file (read from its current position), bytes, an iterable of
                bytes, or a URL. A source that is read with `await` needs an asynchronous client.
            filename: Its name in the form; by default the source's own name, else "file".
            type: Its media type; by default the source's own, else guessed from the name.
            size: Its length in bytes, for a source that does not know it.
            headers: More headers of this part.

        Returns:
            The form itself.

        Raises:
            BadRequest: The source is of a kind that cannot be sent.
            SourceFailed: The source cannot be read.
            PeerFailed: The URL does not answer.

        Example:
            form.file("photo", open("a.jpg", "rb"), type="image/jpeg")
        """
        if not isinstance(name, str):
            raise BadRequest(f"The name of a file's field is a str, not {name!r} ({_kind(name)})")
        content = body_input(source, size)
        display_name = filename or content.name or NAMELESS
        content.name = display_name
        kind = type or content.type or guess_type(display_name)
        self._parts += [
            self._encoder.begin_file(name, display_name, kind, headers),
            content,
            self._encoder.end_file(),
        ]
        return self

    @property
    def length(self) -> int | None:
        """Bytes of the whole form; None when a file's length is unknown."""
        return form_length(
            [
                *(part if isinstance(part, bytes) else part.length for part in self._parts),
                self._encoder.finish(),
            ]
        )

    @property
    def len(self) -> int:
        """The length where requests looks for it.

        Raises AttributeError when it is unknown, which makes requests send chunks.
        """
        if self.length is None:
            raise AttributeError("The length of this form is unknown")
        return self.length

    @property
    def repeatable(self) -> bool:
        """Whether the form can be sent a second time: each of its files can be read again."""
        return all(isinstance(part, bytes) or part.repeatable for part in self._parts)

    @property
    def headers(self) -> dict[str, str]:
        """Content-Type, and Content-Length if it is known; without it, clients send chunks."""
        headers = {"Content-Type": self.content_type}
        if (length := self.length) is not None:
            headers["Content-Length"] = str(length)
        return headers

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes.

        Raises SourceFailed when a file has more or fewer bytes than its length, SourceSpent for the
        second reading of a source that can be read only once.
        """
        return counted(self._pieces(), self.length, self._on_progress)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes in an event loop; files are read in threads."""
        return acounted(self._apieces(), self.length, self._on_progress)

    def _pieces(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from exact(part, part.length)
        yield self._encoder.finish()

    async def _apieces(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                async for piece in aexact(part, part.length):
                    yield piece
        yield self._encoder.finish()


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
