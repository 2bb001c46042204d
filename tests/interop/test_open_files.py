"""Every kind of open file can be sent in a form, with its length if it has one."""

from __future__ import annotations

import asyncio
import codecs
import gzip
import io
import json
import mmap
import tarfile
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from django.core.files.base import ContentFile, File
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from starlette.datastructures import Headers, UploadFile
from werkzeug.datastructures import FileStorage

import sluiceway
from fix_gateway import parts, takes
from fix_taking import noise
from rude_peer import Peer
from sluiceway.errors import BadForm, BadRequest, SluiceError, SourceFailed
from sluiceway.pipe.source import SourceSpent
from sluiceway.server.forms.walk import FileBegan, FileEnded
from sluiceway.starlette import LiveUpload

DATA = noise(300_001)

Open = Callable[[Path, ExitStack], Any]


def temporary(stack: ExitStack, kind: Callable[..., Any], *arguments: Any) -> Any:
    file = stack.enter_context(kind(*arguments))
    file.write(DATA)
    file.seek(0)
    return file


def mapped(path: Path, stack: ExitStack) -> Any:
    file = stack.enter_context(path.open("rb"))
    return stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def in_a_zip(path: Path, stack: ExitStack) -> Any:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(path, "d/a.bin")
    return stack.enter_context(
        stack.enter_context(zipfile.ZipFile(path.with_suffix(".zip"))).open("d/a.bin")
    )


def in_a_tar(path: Path, stack: ExitStack) -> Any:
    with tarfile.open(path.with_suffix(".tar"), "w") as packed:
        packed.add(path, "d/a.bin")
    return stack.enter_context(tarfile.open(path.with_suffix(".tar"))).extractfile("d/a.bin")


def gzipped(path: Path, stack: ExitStack) -> Any:
    path.with_suffix(".gz").write_bytes(gzip.compress(DATA, 1))
    return stack.enter_context(gzip.open(path.with_suffix(".gz")))


def temporary_upload(_: Path, stack: ExitStack) -> Any:
    """Like Django's own class, which needs the settings of a site."""
    return UploadedFile(temporary(stack, tempfile.NamedTemporaryFile), "a.bin", "text/x", len(DATA))


SEEKABLE: dict[str, Open] = {
    "file": lambda path, stack: stack.enter_context(path.open("rb")),
    "unbuffered": lambda path, stack: stack.enter_context(path.open("rb", buffering=0)),
    "BytesIO": lambda path, stack: io.BytesIO(DATA),
    "NamedTemporaryFile": lambda path, stack: temporary(stack, tempfile.NamedTemporaryFile),
    "TemporaryFile": lambda path, stack: temporary(stack, tempfile.TemporaryFile),
    "SpooledTemporaryFile": lambda path, stack: temporary(stack, tempfile.SpooledTemporaryFile),
    "spooled to disk": lambda path, stack: temporary(stack, tempfile.SpooledTemporaryFile, 1000),
    "FileStorage": lambda path, stack: FileStorage(io.BytesIO(DATA), "a.bin", "f", "text/x"),
    "FileStorage of a file": lambda path, stack: FileStorage(
        stack.enter_context(path.open("rb")), "a.bin"
    ),
    "mmap": mapped,
    "django File": lambda path, stack: File(stack.enter_context(path.open("rb"))),
    "django ContentFile": lambda path, stack: ContentFile(DATA, "a.bin"),
    "django SimpleUploadedFile": lambda path, stack: SimpleUploadedFile("a.bin", DATA, "text/x"),
    "django upload on the disk": temporary_upload,
    "UploadFile": lambda path, stack: UploadFile(
        io.BytesIO(DATA), filename="a.bin", size=len(DATA)
    ),
    "member of a zip": in_a_zip,
    "member of a tar": in_a_tar,
    "gzip": gzipped,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(DATA)
    return tmp_path / "a.bin"


@pytest.mark.parametrize("name", SEEKABLE)
def test_seekable_files_have_a_length_and_are_sent_again(path: Path, name: str) -> None:
    """From its position, also from the middle, and twice; Sized does the same."""
    with ExitStack() as stack:
        file = SEEKABLE[name](path, stack)
        for start in (0, 1000):
            (file.file if name == "UploadFile" else file).seek(start)
            form = sluiceway.Form().file("f", file)
            assert form.repeatable, name
            body = b"".join(form)
            assert form.length == len(body)
            assert body.count(DATA[start:]) == 1
            assert len(body) < len(DATA) - start + 500
            assert b"".join(form) == body
        (file.file if name == "UploadFile" else file).seek(1000)
        assert b"".join(sluiceway.Sized(file, len(DATA) - 1000)) == DATA[1000:]


def test_names_and_types_are_taken_from_uploads() -> None:
    """As the browser sent them."""
    for upload in (
        FileStorage(io.BytesIO(DATA), "a.bin", "field", "text/x"),
        SimpleUploadedFile("a.bin", DATA, "text/x"),
        UploadFile(io.BytesIO(DATA), filename="a.bin", headers=Headers({"content-type": "text/x"})),
    ):
        body = b"".join(sluiceway.Form().file("f", upload))
        head = b'name="f"; filename="a.bin"\r\nContent-Type: text/x\r\n\r\n'
        assert head in body
    nameless = b"".join(sluiceway.Form().file("f", FileStorage(io.BytesIO(DATA), None, "field")))
    assert b'filename="file"' in nameless, "the name of its field is none"


def test_a_member_of_a_streamed_tar_is_sent_once(path: Path) -> None:
    """`r|`: its seekable() raises, so it cannot be repeated. With size= it has a length."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w|") as archive:
        archive.add(path, "a.bin")
    packed.seek(0)
    with tarfile.open(fileobj=packed, mode="r|") as archive, Peer(takes) as peer:
        member = archive.next()
        assert member is not None
        form = sluiceway.Form().file("f", archive.extractfile(member), size=member.size)  # type: ignore[arg-type]  # not None
        assert (form.repeatable, form.length is None) == (False, False)
        assert (
            requests.post(peer.url, data=form, headers=form.headers, timeout=20).status_code == 201
        )
        assert parts(peer.seen[0])[0].endswith(b"\r\n\r\n" + DATA)
    with pytest.raises(SourceSpent):
        list(form)


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_a_stream_with_a_wrong_size_never_looks_complete(size: int) -> None:
    """Also for a longer one: the last bytes are withheld until the stream has ended."""
    for given in (sluiceway.Bridge.feed(lambda out: out.write(DATA)), iter([DATA[:-1], DATA[-1:]])):
        with Peer(takes) as peer:
            with pytest.raises(SourceFailed, match=r"gives more|ended after"):
                requests.put(peer.url, data=sluiceway.Sized(given, size), timeout=20)
            assert peer.met.wait(10)
            assert peer.seen[0].was_cut()


class Awaited:
    """Can only be read with await."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


class AwaitedBack(Awaited):
    async def seek(self, at: int) -> int:
        return self._file.seek(at)

    async def tell(self) -> int:
        return self._file.tell()


async def generated() -> AsyncIterator[bytes]:
    for at in range(0, len(DATA), 70_000):
        yield DATA[at : at + 70_000]


def arriving() -> LiveUpload:
    async def items() -> AsyncIterator[Any]:
        yield DATA
        yield FileEnded()

    return LiveUpload(items(), FileBegan("g", "a.bin", "text/x", len(DATA)))


@pytest.mark.parametrize(
    "make", [lambda: Awaited(DATA), lambda: AwaitedBack(DATA), generated, arriving]
)
def test_awaited_sources_are_sent_by_asynchronous_clients(
    make: Callable[[], Any],
) -> None:
    """In a form and as Sized; a blocking client gets an error with the reason."""

    async def main() -> None:
        async with httpx.AsyncClient(timeout=20) as client:
            for body in (
                sluiceway.Form({"a": "b"}).file("f", make()),
                sluiceway.Sized(make(), len(DATA)),
            ):
                assert (
                    await client.post(peer.url, content=aiter(body), headers=body.headers)
                ).status_code == 201
            form = sluiceway.Form().file("f", made := make())
            whole = b"".join([piece async for piece in form])
            assert DATA in whole
            if isinstance(made, AwaitedBack):
                assert form.repeatable
                assert b"".join([piece async for piece in form]) == whole
            else:
                with pytest.raises(SourceSpent):
                    [piece async for piece in form]

    with Peer(takes) as peer:
        asyncio.run(main())
        first, second = peer.seen
    assert DATA in first.body
    assert second.body == DATA
    with pytest.raises(BadRequest, match="await"):
        list(sluiceway.Form().file("f", make()))


def test_text_is_refused_before_anything_is_sent(path: Path, tmp_path: Path) -> None:
    """Also inside a wrapper. A stream whose first chunk turns out to be text is refused then."""
    (tmp_path / "t").write_text("text")
    with ExitStack() as stack:
        for file in (
            io.StringIO("text"),
            stack.enter_context((tmp_path / "t").open()),
            stack.enter_context(tempfile.NamedTemporaryFile("w+")),
            stack.enter_context(tempfile.SpooledTemporaryFile(mode="w+")),
            stack.enter_context(codecs.open(str(tmp_path / "t"), encoding="utf-8")),
            File(stack.enter_context((tmp_path / "t").open())),
        ):
            if hasattr(file, "write") and file.writable() if hasattr(file, "writable") else False:
                file.write("text")
                file.seek(0)
            with pytest.raises(BadRequest, match="text"):
                list(sluiceway.Form().file("f", file))  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(BadRequest, match="text"):
        list(sluiceway.Form().file("f", iter(["text"])))  # type: ignore[arg-type]


# Fields


@pytest.mark.parametrize("value", [42, 1.5, None, True, ["a"], {"a": 1}])
def test_a_value_that_is_no_text_is_refused_with_the_name_of_its_field(value: object) -> None:
    with pytest.raises(BadRequest, match=r"'id'.*str\("):
        sluiceway.Form({"id": value})  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(BadRequest, match=r"42"):
        sluiceway.Form([(42, "a")])  # type: ignore[list-item]
    with pytest.raises(BadRequest, match=r"42"):
        sluiceway.Form().file(42, b"")  # type: ignore[arg-type]


def test_a_field_has_a_type_and_headers_of_its_own() -> None:
    """A JSON part without a filename, as many APIs expect; a file may have headers, too."""
    meta = json.dumps({"title": "Über"})
    with Peer(takes) as peer:
        form = sluiceway.Form().field(
            "meta", meta, type="application/json", headers={"Content-ID": "<1>"}
        )
        form.field("raw", bytearray(b"\x00\xff")).file(
            "file", b"DATA", filename="a.bin", type="text/x", headers={"X-Part": '2; a="b"'}
        )
        assert (
            requests.post(peer.url, data=form, headers=form.headers, timeout=20).status_code == 201
        )
        seen = peer.seen[0]
    assert parts(seen) == [
        b'Content-Disposition: form-data; name="meta"\r\n'
        b"Content-Type: application/json\r\nContent-ID: <1>\r\n\r\n" + meta.encode(),
        b'Content-Disposition: form-data; name="raw"\r\n\r\n\x00\xff',
        (
            b'Content-Disposition: form-data; name="file"; filename="a.bin"\r\n'
            b'Content-Type: text/x\r\nX-Part: 2; a="b"\r\n\r\nDATA'
        ),
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nContent-Disposition: form-data; name=b"},
        {"X": "a\n"},
        {"X\r\nY": "a"},
        {"X Y": "a"},
        {"": "a"},
        {"X": "ü"},
        {"X": 1},
        {1: "X"},
        {"content-disposition": "form-data"},
        {"Content-Type": "text/plain"},
        {"Content-Length": "3"},
        {"Content-Transfer-Encoding": "base64"},
        {"X": "a" * 5000},
    ],
)
def test_a_parts_header_cannot_change_the_form(headers: Any) -> None:
    """No line end, no second disposition, no header that makes a server refuse the form."""
    for add in (sluiceway.Form().field, sluiceway.Form().file):
        with pytest.raises(SluiceError) as caught:
            add("a", b"b", headers=headers)
        assert isinstance(caught.value, BadForm)
    with pytest.raises(BadForm):
        sluiceway.Form().field("a", "b", type="text/plain\r\nX: y")
