"""tus 1.0.0: checksums of a request, in its head and behind its body, and termination."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Mapping

from sluiceway.testing.conformance.case import Level, check, numbered, require_status
from sluiceway.testing.conformance.peer import SeenResponse
from sluiceway.testing.conformance.tus_server import TusServer, coded, pattern

__all__ = ["CASES"]

MUST, SHOULD, CHOICE = Level.MUST, Level.SHOULD, Level.CHOICE
DIGESTS: Mapping[str, Callable[[bytes], bytes]] = {
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha512": lambda data: hashlib.sha512(data).digest(),
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
}
CHUNK = 300 << 10  # bytes: more than one read of most servers


def _checksum(data: bytes, algorithm: str = "sha1") -> str:
    return f"{algorithm} {coded(DIGESTS[algorithm](data))}"


def _a_right_checksum_is_taken(tus: TusServer) -> None:
    tus.needs("checksum")
    data = pattern(2 * CHUNK)
    for algorithm in set(tus.checksums) & set(DIGESTS):
        url = tus.create(len(data))
        tus.append(url, 0, data[:CHUNK], upload_checksum=_checksum(data[:CHUNK], algorithm))
        tus.append(url, CHUNK, data[CHUNK:], upload_checksum=_checksum(data[CHUNK:], algorithm))


def _a_wrong_checksum_is_discarded(tus: TusServer) -> None:
    tus.needs("checksum")
    data = pattern(2 * CHUNK)
    url = tus.create(len(data))
    tus.append(url, 0, data[:CHUNK])
    for chunked in (False, True):
        response = tus.patch(
            url, CHUNK, b"x" * CHUNK, chunked=chunked, upload_checksum=_checksum(b"y")
        )
        require_status(response, 460)
        tus.require_unchanged(url, CHUNK)
    tus.finish(url, data)


def _a_wrong_last_chunk_finishes_nothing(tus: TusServer) -> None:
    tus.needs("checksum")
    url = tus.create(4)
    require_status(tus.patch(url, 0, b"xxxx", upload_checksum=_checksum(b"1234")), 460)
    tus.require_unchanged(url, 0)
    tus.finish(url, b"1234")


def _an_unknown_algorithm_is_refused(tus: TusServer) -> None:
    tus.needs("checksum")
    url = tus.create(4)
    for text in (f"none {coded('x')}", f"SHA1 {coded(DIGESTS['sha1'](b'1234'))}"):
        require_status(tus.patch(url, 0, b"1234", upload_checksum=text), 400)
    tus.require_unchanged(url, 0)


def _an_unreadable_checksum_is_refused(tus: TusServer) -> None:
    tus.needs("checksum")
    url = tus.create(4)
    for text in ("sha1", "sha1 %%%", f"sha1 {coded('short')}"):
        response = tus.patch(url, 0, b"1234", upload_checksum=text)
        check(response.status == 400, f"{response.status} to Upload-Checksum: {text}")
    tus.require_unchanged(url, 0)


def _a_cut_chunk_with_a_checksum_is_discarded(tus: TusServer) -> None:
    tus.needs("checksum")
    data = pattern(2 * CHUNK)
    url = tus.create(len(data))
    fields = {"upload_checksum": _checksum(data)}
    with tus.begin_patch(url, 0, len(data), **fields) as connection:
        connection.send(data[:CHUNK])
        time.sleep(0.3)
    time.sleep(0.3)
    tus.require_unchanged(url, 0)
    tus.finish(url, data)


def _with_trailer(tus: TusServer, url: str, data: bytes, text: str, **more: str) -> SeenResponse:
    fields = tus.patch_fields(0, {"trailer": "Upload-Checksum", **more})
    trailers = [("Upload-Checksum", text)]
    return tus.peer.ask("PATCH", url, fields, data, chunked=True, trailers=trailers)


def _a_right_trailer_is_taken(tus: TusServer) -> None:
    tus.needs("checksum-trailer")
    data = pattern(CHUNK)
    url = tus.create(CHUNK)
    require_status(_with_trailer(tus, url, data, _checksum(data)), 204)
    tus.require_unchanged(url, CHUNK)


def _a_wrong_trailer_discards(tus: TusServer) -> None:
    tus.needs("checksum-trailer")
    data = pattern(CHUNK)
    url = tus.create(CHUNK)
    require_status(_with_trailer(tus, url, data, _checksum(b"other")), 460)
    tus.require_unchanged(url, 0)
    tus.finish(url, data)


def _one_checksum_is_enough(tus: TusServer) -> None:
    tus.needs("checksum-trailer")
    url, text = tus.create(4), _checksum(b"1234")
    require_status(_with_trailer(tus, url, b"1234", text, upload_checksum=text), 400)
    tus.require_unchanged(url, 0)


def _an_unreadable_trailer_discards(tus: TusServer) -> None:
    tus.needs("checksum-trailer")
    url = tus.create(4)
    require_status(_with_trailer(tus, url, b"1234", "sha1 %%%"), 400)
    tus.require_unchanged(url, 0)


def _a_terminated_upload_is_gone(tus: TusServer) -> None:
    tus.needs("termination")
    url = tus.create(10)
    tus.append(url, 0, b"1234")
    require_status(tus.delete(url), 204)
    require_status(tus.head(url), 404, 410)
    require_status(tus.patch(url, 4, b"5"), 404, 410)


def _a_second_termination_finds_nothing(tus: TusServer) -> None:
    tus.needs("termination")
    url = tus.create(10)
    require_status(tus.delete(url), 204)
    require_status(tus.delete(url), 404, 410)


def _an_unknown_upload_is_not_terminated(tus: TusServer) -> None:
    tus.needs("termination")
    require_status(tus.delete(tus.unknown()), 404, 410)


def _a_finished_upload_is_terminated_or_not(tus: TusServer) -> None:
    tus.needs("termination")
    url = tus.create(4)
    tus.append(url, 0, b"1234")
    require_status(tus.delete(url), 204, 400, 403, 405)


def _a_running_upload_is_terminated(tus: TusServer) -> None:
    tus.needs("termination")
    url, data = tus.create(CHUNK), pattern(CHUNK)
    with tus.begin_patch(url, 0, CHUNK) as connection:
        connection.send(data[: CHUNK // 2])
        time.sleep(0.3)
        require_status(tus.delete(url), 204)
        connection.send(data[CHUNK // 2 :])
        connection.end()
    require_status(tus.head(url), 404, 410)


def _the_checksum_of_no_bytes_is_checked(tus: TusServer) -> None:
    tus.needs("checksum")
    url = tus.create(4)
    for at in (0, 4):
        if at:
            tus.append(url, 0, b"1234")
        require_status(tus.patch(url, at, upload_checksum=_checksum(b"x")), 460)
        require_status(tus.patch(url, at, upload_checksum=f"none {coded('x')}"), 400)
        require_status(tus.patch(url, at, upload_checksum=_checksum(b"")), 204)
        tus.require_unchanged(url, at)


def _a_refused_patch_says_no_length(tus: TusServer) -> None:
    tus.needs("checksum")
    url = tus.create(None)
    wrong = _checksum(b"other")
    require_status(tus.patch(url, 0, b"12345", upload_length="5", upload_checksum=wrong), 460)
    check("upload-length" not in tus.head(url).headers, "the refused request set the length")
    require_status(tus.patch(url, 0, b"1234", upload_length="4"), 204)


SUMS, TRAILER = "tus 1.0.0, Checksum", "tus 1.0.0, Checksum Trailer"
END = "tus 1.0.0, Termination"
ROWS = (
    (MUST, SUMS, "A chunk with the right checksum is taken", _a_right_checksum_is_taken),
    (MUST, SUMS, "A wrong checksum: 460, nothing is kept", _a_wrong_checksum_is_discarded),
    (MUST, SUMS, "A wrong last chunk finishes nothing", _a_wrong_last_chunk_finishes_nothing),
    (MUST, SUMS, "An unknown algorithm gets 400", _an_unknown_algorithm_is_refused),
    (CHOICE, SUMS, "An unreadable checksum gets 400", _an_unreadable_checksum_is_refused),
    (CHOICE, SUMS, "A cut chunk is discarded", _a_cut_chunk_with_a_checksum_is_discarded),
    (MUST, TRAILER, "A checksum behind the body is taken", _a_right_trailer_is_taken),
    (MUST, TRAILER, "A wrong one behind the body: 460, nothing kept", _a_wrong_trailer_discards),
    (CHOICE, TRAILER, "A checksum before and behind gets 400", _one_checksum_is_enough),
    (CHOICE, TRAILER, "An unreadable trailer gets 400", _an_unreadable_trailer_discards),
    (MUST, END, "A terminated upload is gone", _a_terminated_upload_is_gone),
    (SHOULD, END, "A second DELETE gets 404 or 410", _a_second_termination_finds_nothing),
    (SHOULD, END, "DELETE of an unknown upload: 404 or 410", _an_unknown_upload_is_not_terminated),
    (CHOICE, END, "A finished upload: 204 or a 4xx", _a_finished_upload_is_terminated_or_not),
    (MUST, END, "DELETE ends a PATCH that runs", _a_running_upload_is_terminated),
    (MUST, SUMS, "The checksum of an empty body is checked", _the_checksum_of_no_bytes_is_checked),
    (MUST, SUMS, "A wrong checksum: no length is set either", _a_refused_patch_says_no_length),
)
CASES = numbered("tus-checksums", ROWS)
