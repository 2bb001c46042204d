"""tus 1.0.0: the core protocol."""

from __future__ import annotations

import time

from sluiceway.testing.conformance.case import Level, check, numbered, require_status
from sluiceway.testing.conformance.peer import SeenResponse
from sluiceway.testing.conformance.tus_server import (
    OFFSET_STREAM,
    VERSION,
    TusServer,
    pattern,
)

__all__ = ["CASES"]

MUST, SHOULD, CHOICE = Level.MUST, Level.SHOULD, Level.CHOICE
KNOWN_EXTENSIONS = {
    "creation",
    "creation-defer-length",
    "creation-with-upload",
    "expiration",
    "checksum",
    "checksum-trailer",
    "termination",
    "concatenation",
    "concatenation-unfinished",
}
BIG = 1 << 20  # bytes of an upload that is cut
SENT = 300 << 10  # bytes of it that are sent
TAKES_OVER = 1.0  # seconds in which a server should answer while an older request hangs


def _discovery(tus: TusServer) -> None:
    response = tus.options
    require_status(response, 200, 204)
    versions = [each.strip() for each in response.headers.get("tus-version", "").split(",")]
    check("1.0.0" in versions, f"Tus-Version: {response.headers.get('tus-version')}")


def _extensions_are_known(tus: TusServer) -> None:
    if "tus-extension" in tus.options.headers:
        check(tus.extensions, "Tus-Extension is empty; it must be left out")
        check(tus.extensions <= KNOWN_EXTENSIONS, f"unknown: {tus.extensions - KNOWN_EXTENSIONS}")
    if "checksum" in tus.extensions:
        check("sha1" in tus.checksums, f"Tus-Checksum-Algorithm: {tus.checksums}")


def _options_ignore_the_version(tus: TusServer) -> None:
    response = tus.peer.ask("OPTIONS", tus.peer.url, {"tus-resumable": "0.2.2"})
    require_status(response, 200, 204)


def _other_versions_are_refused(tus: TusServer) -> None:
    response = tus.post({"tus-resumable": "0.2.2", "upload-length": "1"})
    require_status(response, 412)
    check("tus-version" in response.headers, "412 without Tus-Version")


def _other_versions_change_nothing(tus: TusServer) -> None:
    url = tus.create(10)
    require_status(tus.patch(url, 0, b"12345", tus_resumable="0.2.2"), 412)
    tus.require_unchanged(url, 0)


def _no_version_changes_nothing(tus: TusServer) -> None:
    url = tus.create(10)
    fields = {**OFFSET_STREAM, "upload-offset": "0"}
    response = tus.peer.ask("PATCH", url, fields, b"12345")
    check(response.status // 100 == 4, f"{response.status}, not 4xx")
    tus.require_unchanged(url, 0)


def _head_says_the_offset(tus: TusServer) -> None:
    url = tus.create(10)
    for offset in (0, 4):
        if offset:
            tus.append(url, 0, b"1234")
        response = tus.head(url)
        require_status(response, 200, 204)
        check(response.headers.get("upload-offset") == str(offset), f"{response.headers}")
        check(response.headers.get("upload-length") == "10", f"{response.headers}")


def _head_is_not_cached(tus: TusServer) -> None:
    found = tus.head(tus.create(10)).headers.get("cache-control", "")
    check("no-store" in found, f"Cache-Control: {found!r}")


def _head_of_a_finished_upload(tus: TusServer) -> None:
    url = tus.create(3)
    tus.append(url, 0, b"abc")
    check(tus.offset(url) == 3, "the offset of a finished upload is not its length")


def _unknown_uploads_have_no_offset(tus: TusServer) -> None:
    response = tus.head(tus.unknown())
    require_status(response, 404, 410, 403)
    check("upload-offset" not in response.headers, "there is an Upload-Offset")


def _unknown_uploads_take_nothing(tus: TusServer) -> None:
    require_status(tus.patch(tus.unknown(), 0, b"1"), 404, 410)


def _a_patch_has_its_media_type(tus: TusServer) -> None:
    url = tus.create(10)
    response = tus.patch(url, 0, b"12345", content_type="application/octet-stream")
    require_status(response, 415)
    tus.require_unchanged(url, 0)


def _a_patch_has_an_offset(tus: TusServer) -> None:
    url = tus.create(10)
    fields = {**VERSION, **OFFSET_STREAM}
    require_status(tus.peer.ask("PATCH", url, fields, b"12345"), 400)
    for text in ("-1", "+0", "0x0", "0_0", "1e1", "zero", "0,0"):
        response = tus.patch(url, text, b"12345")
        check(response.status == 400, f"{response.status} to Upload-Offset: {text}")
    tus.require_unchanged(url, 0)


def _another_offset_is_a_conflict(tus: TusServer) -> None:
    url = tus.create(10)
    tus.append(url, 0, b"1234")
    for offset in (0, 3, 5, 10, 11):
        response = tus.patch(url, offset, b"56")
        check(response.status == 409, f"{response.status} to Upload-Offset: {offset}, not 409")
    tus.require_unchanged(url, 4)
    tus.finish(url, b"1234567890")


def _a_conflict_says_the_offset(tus: TusServer) -> None:
    url = tus.create(10)
    tus.append(url, 0, b"1234")
    found = tus.patch(url, 0, b"56").headers.get("upload-offset")
    check(found == "4", f"409 with Upload-Offset: {found}")


def _huge_offsets_are_conflicts(tus: TusServer) -> None:
    url = tus.create(10)
    for offset in (2**53, 10**15, 2**63 - 1, 2**63, 2**64, 10**40):
        response = tus.patch(url, str(offset), b"1")
        check(response.status in (400, 409), f"{response.status} to Upload-Offset: {offset}")
    tus.require_unchanged(url, 0)


def _a_patch_says_the_new_offset(tus: TusServer) -> None:
    url, data = tus.create(1000), pattern(1000)
    tus.append(url, 0, data[:1])
    tus.append(url, 1, data[1:500])
    tus.finish(url, data)


def _a_chunked_patch(tus: TusServer) -> None:
    url, data = tus.create(200_000), pattern(200_000)
    response = tus.patch(url, 0, data[:150_000], chunked=True)
    require_status(response, 204)
    check(response.headers.get("upload-offset") == "150000", f"{response.headers}")
    tus.finish(url, data)


def _an_empty_patch(tus: TusServer) -> None:
    url = tus.create(10)
    tus.append(url, 0, b"1234")
    tus.append(url, 4, b"")
    tus.require_unchanged(url, 4)


def _a_repeated_last_patch(tus: TusServer) -> None:
    url = tus.create(4)
    tus.append(url, 0, b"1234")
    require_status(tus.patch(url, 4), 204)
    require_status(tus.patch(url, 0, b"1234"), 409)
    require_status(tus.patch(url, 4, b"5"), 413)
    tus.require_unchanged(url, 4)


def _more_than_the_length(tus: TusServer) -> None:
    for chunked in (False, True):
        url = tus.create(10)
        response = tus.patch(url, 0, b"12345678901", chunked=chunked)
        how = "chunked" if chunked else "Content-Length"
        check(response.status == 413, f"{response.status} to one byte too many, {how}")
        check(tus.offset(url) <= 10, "the offset is behind the length")


def _an_overridden_method(tus: TusServer) -> None:
    for name in ("PATCH", "patch"):
        url = tus.create(4)
        fields = tus.patch_fields(0, {"x-http-method-override": name})
        response = tus.peer.ask("POST", url, fields, b"1234")
        check(response.status == 204, f"{response.status} to POST as {name}")
        check(tus.offset(url) == 4, "the upload is not whole")


def _a_get_never_deletes(tus: TusServer) -> None:
    url = tus.create(4)
    tus.peer.ask("GET", url, {**VERSION, "x-http-method-override": "DELETE"})
    tus.require_unchanged(url, 0)


def _every_response_has_the_version(tus: TusServer) -> None:
    url = tus.create(10)
    responses: dict[str, SeenResponse] = {
        "creation": tus.post({"upload-length": "1"}),
        "bad creation": tus.post({"upload-length": "x"}),
        "HEAD": tus.head(url),
        "PATCH": tus.patch(url, 0, b"1"),
        "409": tus.patch(url, 9, b"1"),
        "415": tus.patch(url, 1, b"1", content_type="text/plain"),
        "404": tus.head(tus.unknown()),
        "412": tus.patch(url, 1, b"1", tus_resumable="9.9.9"),
    }
    for name, response in responses.items():
        found = response.headers.get("tus-resumable")
        check(found == "1.0.0", f"{name} ({response.status}) has Tus-Resumable: {found}")


def _cut(tus: TusServer, reset: bool) -> None:
    url, data = tus.create(BIG), pattern(BIG)
    with tus.begin_patch(url, 0, BIG) as connection:
        connection.send(data[:SENT])
        time.sleep(0.3)  # a reset would overtake what is still on its way
        if reset:
            connection.reset()
    offset = tus.settled_offset(url, SENT)
    check(0 < offset <= SENT, f"{SENT} bytes were sent; the offset is {offset}")
    tus.finish(url, data)


def _a_closed_connection_keeps_what_came(tus: TusServer) -> None:
    _cut(tus, reset=False)


def _a_reset_connection_keeps_what_came(tus: TusServer) -> None:
    _cut(tus, reset=True)


def _a_cut_chunked_patch_keeps_what_came(tus: TusServer) -> None:
    url, data = tus.create(BIG), pattern(BIG)
    with tus.begin_patch(url, 0, None) as connection:
        connection.send(data[:SENT])
        time.sleep(0.3)
    offset = tus.settled_offset(url, SENT)
    check(0 < offset <= SENT, f"{SENT} bytes were sent; the offset is {offset}")
    tus.finish(url, data)


def _a_hanging_patch_is_taken_over(tus: TusServer) -> None:
    url, data = tus.create(BIG), pattern(BIG)
    with tus.begin_patch(url, 0, BIG) as connection:
        connection.send(data[:SENT])
        time.sleep(0.3)
        began = time.monotonic()
        response = tus.head(url)
        took = time.monotonic() - began
        require_status(response, 200, 204)
        check(took < TAKES_OVER, f"HEAD took {took:.1f} s while another PATCH hung")
        offset = int(response.headers["upload-offset"])
        tus.append(url, offset, data[offset : offset + 1000])
        connection.send(b"x" * 1000)  # too late: it must change nothing
        time.sleep(0.2)
    tus.require_unchanged(url, offset + 1000)
    tus.finish(url, data)


def _a_busy_upload_is_no_server_error(tus: TusServer) -> None:
    url, data = tus.create(BIG), pattern(BIG)
    with tus.begin_patch(url, 0, BIG) as connection:
        connection.send(data[:SENT])
        for response in (tus.head(url), tus.patch(url, 0, b"1")):
            check(response.status < 500, f"{response.status} while another PATCH hung")


def _other_methods_are_named(tus: TusServer) -> None:
    response = tus.peer.ask("PUT", tus.create(4), VERSION, b"1234")
    require_status(response, 405)
    check("allow" in response.headers, "405 without Allow")


def _a_restart_loses_nothing(tus: TusServer) -> None:
    url, data = tus.create(BIG), pattern(BIG)
    tus.append(url, 0, data[:SENT])
    tus.peer.restart()
    check(tus.offset(url) == SENT, f"the offset is {tus.offset(url)} after the restart")
    tus.finish(url, data)


def _a_refused_method_has_the_version(tus: TusServer) -> None:
    found = tus.peer.ask("PUT", tus.create(4), VERSION, b"1234").headers.get("tus-resumable")
    check(found == "1.0.0", f"Tus-Resumable: {found}")


CORE = "tus 1.0.0, Core Protocol"
ROWS = (
    (MUST, CORE, "OPTIONS answers 200 or 204 and names the versions", _discovery),
    (MUST, CORE, "Tus-Extension is a list of known names, or absent", _extensions_are_known),
    (MUST, CORE, "OPTIONS ignores Tus-Resumable", _options_ignore_the_version),
    (MUST, CORE, "Another version gets 412 and Tus-Version", _other_versions_are_refused),
    (MUST, CORE, "A request of another version changes nothing", _other_versions_change_nothing),
    (CHOICE, CORE, "A PATCH without a version is refused", _no_version_changes_nothing),
    (MUST, CORE, "HEAD says offset and length, also when the offset is 0", _head_says_the_offset),
    (MUST, CORE, "HEAD forbids caching", _head_is_not_cached),
    (MUST, CORE, "A finished upload can be asked for", _head_of_a_finished_upload),
    (MUST, CORE, "HEAD of an unknown upload says no offset", _unknown_uploads_have_no_offset),
    (SHOULD, CORE, "PATCH of an unknown upload gets 404 or 410", _unknown_uploads_take_nothing),
    (SHOULD, CORE, "PATCH with another Content-Type gets 415", _a_patch_has_its_media_type),
    (CHOICE, CORE, "PATCH with no readable Upload-Offset gets 400", _a_patch_has_an_offset),
    (
        MUST,
        CORE,
        "PATCH at another offset gets 409, nothing changes",
        _another_offset_is_a_conflict,
    ),
    (CHOICE, CORE, "409 says the right offset", _a_conflict_says_the_offset),
    (MUST, CORE, "An offset beyond every file is 409 or 400", _huge_offsets_are_conflicts),
    (MUST, CORE, "PATCH gets 204 and the new offset", _a_patch_says_the_new_offset),
    (MUST, CORE, "A chunked PATCH is taken", _a_chunked_patch),
    (CHOICE, CORE, "An empty PATCH at the right offset changes nothing", _an_empty_patch),
    (CHOICE, CORE, "PATCH of a whole upload: 204, 409 or 413", _a_repeated_last_patch),
    (CHOICE, CORE, "Bytes beyond the length get 413", _more_than_the_length),
    (MUST, CORE, "X-HTTP-Method-Override is the method", _an_overridden_method),
    (CHOICE, CORE, "A GET never becomes a DELETE", _a_get_never_deletes),
    (MUST, CORE, "Each response has Tus-Resumable", _every_response_has_the_version),
    (SHOULD, CORE, "A closed connection keeps what came", _a_closed_connection_keeps_what_came),
    (SHOULD, CORE, "A reset connection keeps what came", _a_reset_connection_keeps_what_came),
    (SHOULD, CORE, "A cut chunked PATCH keeps what came", _a_cut_chunked_patch_keeps_what_came),
    (CHOICE, CORE, "A new request takes over from one that hangs", _a_hanging_patch_is_taken_over),
    (CHOICE, CORE, "A busy upload is never a 5xx", _a_busy_upload_is_no_server_error),
    (CHOICE, "RFC 9110 15.5.6", "Another method gets 405 and Allow", _other_methods_are_named),
    (CHOICE, CORE, "A restart loses no kept byte", _a_restart_loses_nothing),
    (MUST, CORE, "A refused method has Tus-Resumable, too", _a_refused_method_has_the_version),
)
CASES = numbered("tus-core", ROWS)
