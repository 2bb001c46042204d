"""tus 1.0.0: uploads joined from parts, whole ones and unfinished ones."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from sluiceway.testing.conformance.case import Level, check, numbered, require_status
from sluiceway.testing.conformance.outcomes import NotOffered
from sluiceway.testing.conformance.peer import SeenResponse
from sluiceway.testing.conformance.tus_server import OFFSET_STREAM, TusServer, coded, pattern

__all__ = ["CASES"]

MUST, SHOULD, CHOICE = Level.MUST, Level.SHOULD, Level.CHOICE
SETTLES = 5.0  # seconds in which a server joins small parts


def _part(tus: TusServer, data: bytes) -> str:
    tus.needs("concatenation")
    url = tus.create(len(data), upload_concat="partial")
    if data:
        tus.append(url, 0, data)
    return url


def _join(tus: TusServer, *urls: str, **headers: str) -> SeenResponse:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return tus.post({"upload-concat": f"final;{' '.join(urls)}"} | fields)


def _joined_length(tus: TusServer, url: str) -> tuple[str | None, str | None]:
    """Offset and length that HEAD says once the parts are joined."""
    end = time.monotonic() + SETTLES
    while True:
        headers = tus.head(url).headers
        found = headers.get("upload-offset"), headers.get("upload-length")
        if found[0] is not None or time.monotonic() > end:
            return found
        time.sleep(0.05)


def _parts_are_joined_in_order(tus: TusServer) -> None:
    data = pattern(3000)
    parts = [_part(tus, data[start : start + 1000]) for start in (2000, 0, 1000)]
    response = _join(tus, parts[1], parts[2], parts[0])
    url = tus.location(response)
    found = _joined_length(tus, url)
    check(found == ("3000", "3000"), f"offset and length are {found}")
    tus.compare(url, response, data)


def _parts_may_be_relative(tus: TusServer) -> None:
    data = pattern(2000)
    parts = [_part(tus, data[:1000]), _part(tus, data[1000:])]
    relative = [urlsplit(url).path for url in parts]
    response = _join(tus, relative[0], parts[1])
    url = tus.location(response)
    check(_joined_length(tus, url) == ("2000", "2000"), "it is not joined")
    tus.compare(url, response, data)


def _a_part_may_come_twice(tus: TusServer) -> None:
    part = _part(tus, b"12345")
    response = _join(tus, part, part)
    if not response.is_good:
        check(response.status // 100 == 4, f"{response.status}")
        raise NotOffered("the server refuses a part that is named twice")
    url = tus.location(response)
    check(_joined_length(tus, url) == ("10", "10"), "it has not both")
    tus.compare(url, response, b"1234512345")


def _kinds_are_said(tus: TusServer) -> None:
    part = _part(tus, b"12345")
    found = tus.head(part).headers.get("upload-concat")
    check(found == "partial", f"HEAD of a part has Upload-Concat: {found}")
    final = tus.location(_join(tus, part))
    found = tus.head(final).headers.get("upload-concat", "")
    check(found.startswith("final;"), f"HEAD of a final upload has Upload-Concat: {found}")


def _a_part_is_an_upload(tus: TusServer) -> None:
    tus.needs("concatenation")
    url = tus.create(2000, upload_concat="partial")
    data = pattern(2000)
    tus.append(url, 0, data[:700])
    tus.append(url, 700, data[700:])
    check(tus.offset(url) == 2000, "a part is not whole")


def _metadata_are_those_of_the_final_upload(tus: TusServer) -> None:
    tus.needs("concatenation")
    url = tus.create(1, upload_concat="partial", upload_metadata=f"a {coded('part')}")
    tus.append(url, 0, b"1")
    text = f"filename {coded('final.bin')}"
    final = tus.location(_join(tus, url, upload_metadata=text))
    found = tus.head(final).headers.get("upload-metadata")
    check(found == text, f"Upload-Metadata: {found}")


def _a_final_upload_takes_no_bytes(tus: TusServer) -> None:
    final = tus.location(_join(tus, _part(tus, b"12345")))
    require_status(tus.patch(final, 5, b"6"), 403)
    require_status(tus.patch(final, 0, b"6"), 403)


def _a_final_upload_has_no_length(tus: TusServer) -> None:
    response = _join(tus, _part(tus, b"12345"), upload_length="5")
    require_status(response, 400)


def _a_final_upload_has_no_body(tus: TusServer) -> None:
    part = _part(tus, b"12345")
    fields = {"upload-concat": f"final;{part}", **OFFSET_STREAM}
    response = tus.post(fields, b"6")
    check(response.status // 100 == 4, f"{response.status} to a final upload with a body")


def _unknown_parts_are_refused(tus: TusServer) -> None:
    part = _part(tus, b"12345")
    for url in (tus.unknown(), f"{part}/../x", "/", "http://127.0.0.1:1/elsewhere"):
        response = _join(tus, part, url)
        check(response.status // 100 == 4, f"{response.status} with the part {url}")


def _whole_uploads_are_no_parts(tus: TusServer) -> None:
    tus.needs("concatenation")
    url = tus.create(4)
    tus.append(url, 0, b"1234")
    response = _join(tus, url)
    check(response.status // 100 == 4, f"{response.status} with an upload that is not a part")


def _another_word_is_refused(tus: TusServer) -> None:
    tus.needs("concatenation")
    for text in ("", "final", "final;", "part", "partial;/x"):
        response = tus.post({"upload-concat": text, "upload-length": "1"})
        check(response.status == 400, f"{response.status} to Upload-Concat: {text!r}")


def _unfinished_parts(tus: TusServer) -> None:
    tus.needs("concatenation")
    data = pattern(2000)
    first, second = _part(tus, data[:1000]), tus.create(1000, upload_concat="partial")
    tus.append(second, 0, data[1000:1400])
    response = _join(tus, first, second)
    if "concatenation-unfinished" not in tus.extensions:
        check(response.status // 100 == 4, f"{response.status} with an unfinished part")
        return
    url = tus.location(response)
    check("upload-offset" not in tus.head(url).headers, "there is an Upload-Offset before the end")
    last = tus.patch(second, 400, data[1400:])
    require_status(last, 204)
    found = _joined_length(tus, url)
    check(found == ("2000", "2000"), f"offset and length are {found}")


CONCAT = "tus 1.0.0, Concatenation"
ROWS = (
    (MUST, CONCAT, "Parts are joined in the order of the list", _parts_are_joined_in_order),
    (MUST, CONCAT, "A part is named by a relative or an absolute URL", _parts_may_be_relative),
    (CHOICE, CONCAT, "A part may come twice", _a_part_may_come_twice),
    (MUST, CONCAT, "HEAD repeats Upload-Concat", _kinds_are_said),
    (MUST, CONCAT, "A part is appended to as an upload is", _a_part_is_an_upload),
    (
        MUST,
        CONCAT,
        "Metadata are those of the final upload",
        _metadata_are_those_of_the_final_upload,
    ),
    (MUST, CONCAT, "PATCH of a final upload gets 403", _a_final_upload_takes_no_bytes),
    (CHOICE, CONCAT, "A final upload with a length gets 400", _a_final_upload_has_no_length),
    (CHOICE, CONCAT, "A final upload with a body is refused", _a_final_upload_has_no_body),
    (CHOICE, CONCAT, "A part that is not an upload here is refused", _unknown_parts_are_refused),
    (CHOICE, CONCAT, "An upload that is not a part is refused", _whole_uploads_are_no_parts),
    (CHOICE, CONCAT, "Another Upload-Concat gets 400", _another_word_is_refused),
    (MUST, CONCAT, "Unfinished parts are joined later, or refused", _unfinished_parts),
)
CASES = numbered("tus-concatenation", ROWS)
