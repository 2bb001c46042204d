"""A multipart form that streams: what requests, httpx, urllib3 and aiohttp take as a body, with its exact length.

Reads its files when the HTTP library asks for the next piece, never before, and again for a redirect or a retry where they
can be read again. The bytes around them are made by `wire.encoder`.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Self

from sluiceway.client.bodies.aiohttp_body import register_with_aiohttp
from sluiceway.client.bodies.inputs import BodyInput, Content, material
from sluiceway.client.bodies.sized import OnSent, acounted, aexact, counted, exact
from sluiceway.errors import BadRequest
from sluiceway.pipe.source import Buffer
from sluiceway.wire.forms.encoder import FormEncoder, form_length, new_boundary
from sluiceway.wire.headers.media_types import guess_type

__all__ = ["Form"]

NAMELESS = "file"  # a filename makes a file of a part; something has to stand there


class Form:
    """multipart/form-data for any HTTP client.

        form = sluiceway.Form({"title": "The book"}).file("file", "book.pdf")
        requests.post(url, data=form, headers=form.headers)
        httpx.post(url, content=form, headers=form.headers)         # AsyncClient: content=aiter(form)
        urllib3.request("POST", url, body=form, headers=form.headers)
        await session.post(url, data=form, headers=form.headers)    # aiohttp

    Parts go in the order they were added: fields first, for servers that need them to know where a file belongs.
    `on_progress(sent, length)` counts bytes the HTTP library took, not those the server has; `sluiceway.copy` counts those.
    """

    def __init__(
        self,
        fields: Mapping[str, str | Buffer] | Iterable[tuple[str, str | Buffer]] = (),
        on_progress: OnSent | None = None,
    ) -> None:
        self._encoder = FormEncoder(new_boundary(secrets.token_bytes(16)))
        self._parts: list[bytes | BodyInput] = []  # what stands between the files, and the files
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
        """Add a field. `type` is for one that is no plain text, such as application/json; `headers` are more of the part's own.

        Raises BadRequest for a value that is neither text nor bytes, BadForm for a type or header that no part can carry.
        """
        if not isinstance(name, str):
            raise BadRequest(f"A field is named by a str, not by {name!r} ({_kind(name)})")
        if not isinstance(value, str | bytes | bytearray | memoryview):
            raise BadRequest(
                f"The value of field {name!r} is {_kind(value)}; a form carries text and bytes, so give str(…) or json.dumps(…)"
            )
        self._parts.append(
            self._encoder.field(
                name, value if isinstance(value, str) else bytes(value), type, headers
            )
        )
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
        """Add a file in the field `name`: a path, a binary file from where it stands, bytes, an iterable of bytes, a URL.

        `filename` and `type` are taken from the source or guessed; `size` is for a source that does not know its length.
        What is read with `await` will do where an asynchronous client sends the form. `headers` are more of the part's own.
        Raises BadRequest, SourceFailed for what cannot be read, PeerFailed for a URL that does not answer.
        """
        if not isinstance(name, str):
            raise BadRequest(f"A file's field is named by a str, not by {name!r} ({_kind(name)})")
        content = material(source, size)
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
        """Bytes of the whole form; None when a file's is unknown."""
        return form_length(
            [
                *(part if isinstance(part, bytes) else part.length for part in self._parts),
                self._encoder.finish(),
            ]
        )

    @property
    def len(self) -> int:
        """The same where requests looks for it. Raises AttributeError when it is unknown, which makes requests send chunks."""
        if self.length is None:
            raise AttributeError("The length of this form is unknown")
        return self.length

    @property
    def again(self) -> bool:
        """Whether the form can be sent a second time: none of its files flows past only once."""
        return all(isinstance(part, bytes) or part.again for part in self._parts)

    @property
    def headers(self) -> dict[str, str]:
        """Content-Type, and Content-Length where it is known; without one, clients send chunks."""
        length = self.length
        return {"Content-Type": self.content_type} | (
            {} if length is None else {"Content-Length": str(length)}
        )

    def __iter__(self) -> Iterator[bytes]:
        """The bytes. Raises SourceFailed when a file gives more or fewer than it said, SourceSpent for a second reading of what
        flowed past."""
        return counted(self._pieces(), self.length, self._on_progress)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The same for an event loop; files are read in threads."""
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
