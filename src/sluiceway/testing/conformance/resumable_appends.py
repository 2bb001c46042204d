"""The IETF form: offsets, appends, the end of an upload, and requests that meet."""

from __future__ import annotations

import json
import time

from sluiceway.testing.conformance.case import Level, check, numbered, require_status
from sluiceway.testing.conformance.outcomes import NotOffered
from sluiceway.testing.conformance.resumable_server import ResumableServer, is_whole
from sluiceway.testing.conformance.tus_server import pattern

__all__ = ["CASES"]

MUST, SHOULD, CHOICE = Level.MUST, Level.SHOULD, Level.CHOICE
BIG = 1 << 20  # bytes of an upload that is cut
SENT = 300 << 10  # bytes of it that are sent
TAKES_OVER = 1.0  # seconds in which a server should answer while an older request hangs
COMPLETED = (6, 7, 8)  # versions that have a problem type for it
OF_NOTHING = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
OF_A_TEXT = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"  # RFC 9530, appendix D
PROBLEMS = "https://iana.org/assignments/http-problem-types#"


def _head_says_how_far_it_is(server: ResumableServer) -> None:
    url = server.create(b"12345")
    response = server.head(url)
    require_status(response, *((204,) if server.version < 5 else (-200,)))
    check(response.headers.get("upload-offset") == "5", f"{response.headers}")
    check(is_whole(response) is False, "HEAD does not say that more must come")


def _head_is_not_cached(server: ResumableServer) -> None:
    found = server.head(server.create(b"12345")).headers.get("cache-control", "")
    check("no-store" in found, f"Cache-Control: {found!r}")


def _head_says_the_limits(server: ResumableServer) -> None:
    server.needs(7)
    check("upload-limit" in server.head(server.create()).headers, "there is no Upload-Limit")


def _head_carries_no_state(server: ResumableServer) -> None:
    if server.version > 6:
        raise NotOffered("the rule was dropped")
    url = server.create(b"12345")
    require_status(server.head(url, upload_offset=5), 400)


def _an_unknown_upload_is_not_found(server: ResumableServer) -> None:
    response = server.head(server.unknown())
    require_status(response, *((404,) if server.version < 7 else (404, 410)))
    check("upload-offset" not in response.headers, "there is an Upload-Offset")


def _bytes_are_appended(server: ResumableServer) -> None:
    url, data = server.create(), pattern(3000)
    response = server.append(url, 0, data[:1000], False)
    require_status(response, *((201,) if server.version < 7 else (-200,)))
    check(is_whole(response) is not True, "the response says that the file is whole")
    if server.version < 7:
        found = response.headers.get("upload-offset")
        check(found == "1000", f"Upload-Offset: {found}")
    server.require_unchanged(url, 1000)
    server.finish(url, data)


def _the_last_append_is_whole(server: ResumableServer) -> None:
    url = server.create(b"12345")
    response = server.append(url, 5, b"6", True)
    require_status(response, -200)
    if server.version >= 7:
        check(is_whole(response) is True, "there is no Upload-Complete: ?1")
    else:
        check(is_whole(response) is not False, "the response says that more must come")


def _an_empty_append_ends_an_upload(server: ResumableServer) -> None:
    url = server.create(b"12345")
    response = server.append(url, 5, b"", True)
    require_status(response, -200)
    server.compare(response, b"12345")


def _all_bytes_are_not_the_end(server: ResumableServer) -> None:
    server.needs(6)
    url = server.create(b"12345", upload_length=5)
    response = server.head(url)
    require_status(response, -200)
    check(is_whole(response) is False, "the upload is whole without Upload-Complete: ?1")
    require_status(server.append(url, 5, b"", True), -200)


def _another_offset_is_a_conflict(server: ResumableServer) -> None:
    url = server.create(b"12345")
    for offset in (0, 4, 6, 10**15 - 1):
        response = server.append(url, offset, b"67", False)
        check(response.status == 409, f"{response.status} to Upload-Offset: {offset}, not 409")
    server.require_unchanged(url, 5)


def _a_conflict_says_the_offset(server: ResumableServer) -> None:
    response = server.append(server.create(b"12345"), 0, b"67", False)
    found = response.headers.get("upload-offset")
    check(found == "5", f"409 with Upload-Offset: {found}")
    if server.version >= 7:
        check(is_whole(response) is False, "409 without Upload-Complete: ?0")


def _a_conflict_is_a_problem(server: ResumableServer) -> None:
    server.needs(6)
    response = server.append(server.create(b"12345"), 0, b"67", False)
    kind = response.headers.get("content-type", "").partition(";")[0]
    check(kind == "application/problem+json", f"Content-Type: {kind}")
    problem = json.loads(response.body)
    check(problem.get("type") == f"{PROBLEMS}mismatching-upload-offset", f"{problem}")
    found = problem.get("expected-offset"), problem.get("provided-offset")
    check(found == (5, 0), f"expected-offset and provided-offset are {found}")


def _an_append_has_an_offset(server: ResumableServer) -> None:
    url = server.create(b"12345")
    for text in (None, "-1", "five", "5.0", "?1", "5, 5", "1" * 16, '"5"'):
        response = server.append(url, text, b"67", False)
        check(response.status // 100 == 4, f"{response.status} to Upload-Offset: {text}")
    server.require_unchanged(url, 5)


def _an_integer_may_have_a_parameter(server: ResumableServer) -> None:
    url = server.create(b"12345")
    for text, data in (("5;a=1", b"6"), ("006", b"7")):
        require_status(server.append(url, text, data, False), -200)
    server.require_unchanged(url, 7)


def _an_append_says_whether_it_is_the_last(server: ResumableServer) -> None:
    server.needs(7)
    url = server.create(b"12345")
    for text in (None, "1", "true", "?2", "?1, ?0"):
        response = server.append(url, 5, b"67", text)
        check(response.status // 100 == 4, f"{response.status} to Upload-Complete: {text}")
    server.require_unchanged(url, 5)


def _an_append_has_its_media_type(server: ResumableServer) -> None:
    server.needs(6)
    url = server.create(b"12345")
    response = server.append(url, 5, b"67", False, content_type="text/plain")
    require_status(response, 415)
    check("accept-patch" in response.headers, "415 without Accept-Patch (RFC 5789 2.2)")
    server.require_unchanged(url, 5)


def _inconsistent_lengths_are_refused(server: ResumableServer) -> None:
    server.needs(6)
    url = server.create(b"12345", upload_length=10)
    response = server.append(url, 5, b"67", True)
    check(response.status // 100 == 4, f"{response.status} to an end at 7 of 10 bytes")
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        found = json.loads(response.body).get("type")
        check(found == f"{PROBLEMS}inconsistent-upload-length", f"type: {found}")


def _too_many_bytes_end_an_upload(server: ResumableServer) -> None:
    server.needs(7)
    url = server.create(b"12345", upload_length=6)
    response = server.append(url, 5, b"6789", False)
    check(response.status // 100 == 4, f"{response.status} to more bytes than Upload-Length")
    response = server.append(url, 6, b"", True)
    check(not response.is_good, f"{response.status}: the upload goes on")


def _a_repeated_end_is_answered(server: ResumableServer) -> None:
    url = server.create(b"12345")
    first = server.append(url, 5, b"67", True)
    second = server.append(url, 5, b"67", True)
    check(second.status < 500, f"{second.status} to a repeated last append")
    if server.version in COMPLETED and second.status == 400:
        check(f"{PROBLEMS}completed-upload" in second.text, f"400 {second.text!r}")
        return
    check(second.status == first.status, f"{first.status}, and {second.status} when repeated")
    check(is_whole(second) is not False, "the repeated response says that more must come")


def _a_finished_upload_takes_nothing(server: ResumableServer) -> None:
    url = server.create(b"12345")
    response = server.finish(url, b"1234567")
    again = server.append(url, 7, b"89", False)
    check(again.status // 100 == 4, f"{again.status} to bytes behind the end")
    server.compare(response, b"1234567")


def _a_cancelled_upload_is_gone(server: ResumableServer) -> None:
    url = server.create(b"12345")
    require_status(server.delete(url), *((204,) if server.version < 8 else (-200,)))
    require_status(server.head(url), *((404,) if server.version < 7 else (404, 410)))
    response = server.append(url, 5, b"67", True)
    check(response.status // 100 == 4, f"{response.status} to an append")


def _a_cut_append_keeps_what_came(server: ResumableServer) -> None:
    url, data = server.create(), pattern(BIG)
    for reset in (False, True):
        offset = server.offset(url)
        with server.begin_append(url, offset, BIG - offset, True) as connection:
            connection.send(data[offset : offset + SENT])
            time.sleep(0.3)
            if reset:
                connection.reset()
        found = server.settled_offset(url, offset + SENT)
        check(offset < found <= offset + SENT, f"{SENT} bytes were sent; {offset} became {found}")
    server.finish(url, data)


def _a_hanging_append_is_taken_over(server: ResumableServer) -> None:
    url, data = server.create(), pattern(BIG)
    with server.begin_append(url, 0, BIG, True) as connection:
        connection.send(data[:SENT])
        time.sleep(0.3)
        began = time.monotonic()
        offset = server.offset(url)
        took = time.monotonic() - began
        check(took < TAKES_OVER, f"HEAD took {took:.1f} s while another append hung")
        response = server.append(url, offset, data[offset : offset + 1000], False)
        require_status(response, -200)
        connection.send(b"x" * 1000)  # too late: it must change nothing
        time.sleep(0.2)
    server.require_unchanged(url, offset + 1000)
    server.finish(url, data)


def _a_running_upload_is_cancelled(server: ResumableServer) -> None:
    url = server.create()
    with server.begin_append(url, 0, BIG, True) as connection:
        connection.send(pattern(SENT))
        time.sleep(0.3)
        require_status(server.delete(url), -200)
    require_status(server.head(url), 404, 410)


def _a_wrong_digest_of_the_content_is_forgotten(server: ResumableServer) -> None:
    url = server.create(b"12345")
    response = server.append(url, 5, b"67", False, content_digest=OF_NOTHING)
    check(response.status // 100 == 4, f"{response.status} to another digest")
    server.require_unchanged(url, 5)


def _a_restart_loses_nothing(server: ResumableServer) -> None:
    data = pattern(BIG)
    url = server.create(data[:SENT])
    server.peer.restart()
    server.require_unchanged(url, SENT)
    server.finish(url, data)


def _the_digest_of_nothing_is_checked(server: ResumableServer) -> None:
    url = server.create(b"12345")
    response = server.append(url, 5, b"", True, content_digest=OF_A_TEXT)
    check(response.status // 100 == 4, f"{response.status} to another digest")
    require_status(server.append(url, 5, b"", True, content_digest=OF_NOTHING), -200)


def _a_repeated_end_may_be_chunked(server: ResumableServer) -> None:
    url = server.create(b"12345")
    fields = server.append_fields(5, True)
    first, second = (server.peer.ask("PATCH", url, fields, b"67", chunked=True) for _ in range(2))
    require_status(first, -200)
    if server.version in COMPLETED and f"{PROBLEMS}completed-upload" in second.text:
        return
    check(second.status == first.status, f"{first.status}, and {second.status} when repeated")


def _a_repeated_end_agrees(server: ResumableServer) -> None:
    server.needs(6)
    url = server.create(b"12345")
    require_status(server.append(url, 5, b"67", True), -200)
    response = server.append(url, 5, b"67", True, upload_length=9)
    check(response.status // 100 == 4, f"{response.status} to a length of 9 for 7 bytes")


def _a_refused_append_says_no_length(server: ResumableServer) -> None:
    server.needs(6)
    url = server.create(b"12345")
    wrong = {"content_digest": OF_NOTHING, "upload_length": 7}
    response = server.append(url, 5, b"67", False, **wrong)
    if response.is_good:
        raise NotOffered("Content-Digest is not checked")
    require_status(server.append(url, 5, b"678", True, upload_length=8), -200)


def _a_repeated_end_has_the_same_bytes(server: ResumableServer) -> None:
    url = server.create(b"12345")
    require_status(server.append(url, 5, b"67", True), -200)
    for offset, data in ((5, b"xy"), (0, b"xxxxxxx"), (6, b"x")):
        response = server.append(url, offset, data, True)
        check(not response.is_good, f"{response.status} to {data!r} at {offset}, never stored")


def _empty_fields_say_nothing(server: ResumableServer) -> None:
    url = server.create(b"12345")
    for name in ("content-digest", "repr-digest", "content-encoding"):
        response = server.append(url, server.offset(url), b"6", False, **{name: ""})
        check(response.is_good, f"{response.status} to an empty {name}")


TEXT = "draft-ietf-httpbis-resumable-upload"
OFFSET, APPEND = f"{TEXT}, Offset Retrieval", f"{TEXT}, Upload Append"
CANCEL, MEET, DIGEST = f"{TEXT}, Upload Cancellation", f"{TEXT}, Concurrency", "RFC 9530 2"
ROWS = (
    (MUST, OFFSET, "HEAD says the offset and that more must come", _head_says_how_far_it_is),
    (SHOULD, OFFSET, "HEAD forbids caching", _head_is_not_cached),
    (MUST, OFFSET, "HEAD says the limits", _head_says_the_limits),
    (MUST, OFFSET, "HEAD with Upload-Offset gets 400 (versions 3 to 6)", _head_carries_no_state),
    (MUST, OFFSET, "An unknown upload is not found", _an_unknown_upload_is_not_found),
    (MUST, APPEND, "Bytes are appended at the offset", _bytes_are_appended),
    (MUST, APPEND, "The last append is answered as the whole upload", _the_last_append_is_whole),
    (MUST, APPEND, "An empty append ends an upload", _an_empty_append_ends_an_upload),
    (MUST, APPEND, "All bytes alone are not the end", _all_bytes_are_not_the_end),
    (MUST, APPEND, "Another offset gets 409, nothing changes", _another_offset_is_a_conflict),
    (MUST, APPEND, "409 says the right offset", _a_conflict_says_the_offset),
    (CHOICE, APPEND, "409 is a problem with both offsets", _a_conflict_is_a_problem),
    (MUST, APPEND, "An append has a readable offset", _an_append_has_an_offset),
    (
        MUST,
        "RFC 9651",
        "Parameters and zeros in front change nothing",
        _an_integer_may_have_a_parameter,
    ),
    (MUST, APPEND, "An append says whether it is the last", _an_append_says_whether_it_is_the_last),
    (CHOICE, APPEND, "Another Content-Type gets 415", _an_append_has_its_media_type),
    (MUST, APPEND, "An end before Upload-Length is refused", _inconsistent_lengths_are_refused),
    (MUST, APPEND, "Bytes beyond Upload-Length end the upload", _too_many_bytes_end_an_upload),
    (
        CHOICE,
        APPEND,
        "A repeated last append gets the same response, or is named",
        _a_repeated_end_is_answered,
    ),
    (CHOICE, APPEND, "A finished upload takes nothing more", _a_finished_upload_takes_nothing),
    (MUST, CANCEL, "A cancelled upload is gone", _a_cancelled_upload_is_gone),
    (SHOULD, APPEND, "A cut append keeps what came", _a_cut_append_keeps_what_came),
    (SHOULD, MEET, "A new request takes over from one that hangs", _a_hanging_append_is_taken_over),
    (SHOULD, MEET, "DELETE ends an append that runs", _a_running_upload_is_cancelled),
    (
        CHOICE,
        DIGEST,
        "Content of another digest is forgotten",
        _a_wrong_digest_of_the_content_is_forgotten,
    ),
    (CHOICE, OFFSET, "A restart loses no kept byte", _a_restart_loses_nothing),
    (CHOICE, DIGEST, "The digest of no content is checked", _the_digest_of_nothing_is_checked),
    (CHOICE, APPEND, "A repeated last append may be chunked", _a_repeated_end_may_be_chunked),
    (MUST, APPEND, "A repeated end with another length is refused", _a_repeated_end_agrees),
    (CHOICE, APPEND, "A refused append sets no length", _a_refused_append_says_no_length),
    (
        CHOICE,
        APPEND,
        "A repeated end with other bytes is refused",
        _a_repeated_end_has_the_same_bytes,
    ),
    (MUST, "RFC 9651 3.2", "An empty dictionary or list says nothing", _empty_fields_say_nothing),
)
CASES = numbered("resumable-appends", ROWS)
