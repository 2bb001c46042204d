"""The outcome of a form, in a shape that does not depend on the cuts. For all tests of forms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sluiceway.errors import SluiceError
from sluiceway.wire.forms.decoder import (
    FormDecoder,
    FormEnded,
    FormLimits,
    PartBegan,
    PartData,
    PartEnded,
)

TYPE = "multipart/form-data; boundary=B"


@dataclass(frozen=True)
class Part:
    name: str
    filename: str | None
    type: str
    data: bytes


@dataclass(frozen=True)
class Outcome:
    """The parts of a good form, or the code and limit of the error after `whole_parts`."""

    parts: list[Part]
    error: str = ""
    limit_name: str = ""
    whole_parts: list[Part] = field(default_factory=list, compare=False)


def outcome(
    pieces: Iterable[bytes], content_type: str = TYPE, limits: FormLimits = FormLimits()
) -> Outcome:
    """Feed, close, and check the order of the events."""
    parts: list[Part] = []
    under_way: PartBegan | None = None
    data: list[bytes] = []
    ended = False
    try:
        decoder = FormDecoder(content_type, limits)
        for piece in pieces:
            for event in decoder.feed(piece):
                assert not ended, "nothing may come after FormEnded"
                match event:
                    case PartBegan():
                        assert under_way is None
                        under_way, data = event, []
                    case PartData():
                        assert under_way is not None
                        assert event.data
                        data.append(event.data)
                    case PartEnded():
                        assert under_way is not None
                        parts.append(
                            Part(under_way.name, under_way.filename, under_way.type, b"".join(data))
                        )
                        under_way = None
                    case FormEnded():
                        assert under_way is None
                        ended = True
        assert decoder.close() == []
    except SluiceError as error:
        return Outcome([], error.code, str(error.members.get("limit_name", "")), parts)
    assert ended, "close() may only be silent after FormEnded"
    return Outcome(parts)


def body(*parts: tuple[str, bytes], boundary: str = "B") -> bytes:
    """A form of parts given as (header lines joined with CRLF, payload)."""
    mark = boundary.encode()
    written = b"".join(
        b"--%s\r\n%s\r\n\r\n%s\r\n" % (mark, head.encode(), payload) for head, payload in parts
    )
    return written + b"--%s--\r\n" % mark


def field_head(name: str, *more: str) -> str:
    return "\r\n".join([f'Content-Disposition: form-data; name="{name}"', *more])


def file_head(name: str, filename: str, *more: str) -> str:
    return "\r\n".join(
        [f'Content-Disposition: form-data; name="{name}"; filename="{filename}"', *more]
    )
