"""Tar archives for tests: built by the standard library, or from headers made by hand."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator

from sluiceway.pipe.source import Buffer

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
END = bytes(1024)  # the end mark


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(data), 1_000_000_000
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def head(
    name: bytes = b"a",
    size: bytes = b"00000000000",
    kind: bytes = b"0",
    magic: bytes = b"ustar\x0000",
) -> bytes:
    """A header made by hand, with a right checksum."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:136] = b"0000644\x000000000\x000000000\x00" + size.ljust(12, b"\0")
    block[136:148], block[148:156], block[156:157] = b"00000000000\0", b" " * 8, kind
    block[257 : 257 + len(magic)] = magic
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(record: bytes, kind: bytes = b"x") -> bytes:
    return head(b"pax", b"%011o" % len(record), kind) + record + bytes(-len(record) % 512)


async def flow(data: bytes, cut: int) -> AsyncIterator[Buffer]:
    for at in range(0, len(data), cut):
        yield data[at : at + cut]
