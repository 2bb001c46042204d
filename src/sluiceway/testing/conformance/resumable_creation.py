"""The IETF form: limits, creation in one request and in pieces, and 104."""

from __future__ import annotations

import gzip
import time

from sluiceway.testing.conformance.case import Level, check, numbered, require_status
from sluiceway.testing.conformance.outcomes import NotOffered
from sluiceway.testing.conformance.resumable_server import (
    FINAL,
    ResumableServer,
    is_whole,
)
from sluiceway.testing.conformance.tus_server import pattern

__all__ = ["CASES"]

MUST, SHOULD, CHOICE = Level.MUST, Level.SHOULD, Level.CHOICE
BIG = 1 << 20  # bytes of an upload that is cut
SENT = 300 << 10  # bytes of it that are sent
INTERIM = 2.0  # seconds in which a 104 must come, if one comes


def _options_name_the_limits(server: ResumableServer) -> None:
    server.needs(7)
    check(server.limits, "OPTIONS has no Upload-Limit")
    for name, value in server.limits.items():
        check(value.isascii() and value.isdigit(), f"Upload-Limit: {name}={value}")


def _a_whole_file_is_stored(server: ResumableServer) -> None:
    data = pattern(5000)
    for chunked in (False, True):
        response = server.post(data, True, chunked=chunked)
        require_status(response, -200)
        check(is_whole(response) is not False, "the response says that more must come")
        server.compare(response, data)


def _the_last_response_says_that_it_is_whole(server: ResumableServer) -> None:
    server.needs(4)
    check(is_whole(server.post(b"12345", True)) is True, "there is no Upload-Complete: ?1")


def _an_empty_file_is_stored(server: ResumableServer) -> None:
    require_status(server.post(b"", True), -200)


def _a_begun_upload_has_a_location(server: ResumableServer) -> None:
    response = server.post(b"12345", False)
    require_status(response, 201)
    url = server.location(response)
    check(is_whole(response) is not True, "the response says that the file is whole")
    server.require_unchanged(url, 5)


def _a_begun_upload_says_its_offset(server: ResumableServer) -> None:
    response = server.post(b"12345", False)
    found = response.headers.get("upload-offset")
    check(found == "5", f"Upload-Offset: {found}")


def _a_begun_upload_says_its_limits(server: ResumableServer) -> None:
    server.needs(7)
    check("upload-limit" in server.post(b"12345", False).headers, "there is no Upload-Limit")


def _the_version_is_echoed(server: ResumableServer) -> None:
    if server.version == FINAL:
        raise NotOffered("the final form has no version")
    found = server.post(b"12345", False).headers.get("upload-draft-interop-version")
    check(found == str(server.version), f"Upload-Draft-Interop-Version: {found}")


def _an_upload_begins_empty(server: ResumableServer) -> None:
    url, data = server.create(), pattern(3000)
    server.require_unchanged(url, 0)
    response = server.append(url, 0, data, True)
    require_status(response, -200)
    server.compare(response, data)


def _a_length_is_remembered(server: ResumableServer) -> None:
    server.needs(6)
    found = server.head(server.create(b"12345", upload_length=10)).headers.get("upload-length")
    check(found == "10", f"Upload-Length: {found}")


def _lengths_that_disagree_are_refused(server: ResumableServer) -> None:
    server.needs(6)
    response = server.post(b"12345", True, upload_length=6)
    check(response.status // 100 == 4, f"{response.status} to 5 bytes with Upload-Length: 6")


def _a_parameter_of_a_boolean_is_ignored(server: ResumableServer) -> None:
    server.needs(4)
    response = server.post(b"12345", "?0;a=1")
    require_status(response, 201)
    server.require_unchanged(server.location(response), 5)


def _a_cut_creation_goes_on(server: ResumableServer) -> None:
    data = pattern(BIG)
    fields = server.fields(True)
    with server.peer.begin("POST", server.peer.url, fields, BIG) as connection:
        connection.send(data[:SENT])
        interim = connection.interim(INTERIM)
        if interim is None or interim.status != 104:
            raise NotOffered("no 104 comes")
        check("location" in interim.headers, "104 without Location")
        url = server.peer.absolute(interim.headers["location"])
        time.sleep(0.3)
    offset = server.settled_offset(url, SENT)
    check(0 < offset <= SENT, f"{SENT} bytes were sent; the offset is {offset}")
    response = server.append(url, offset, data[offset:], True)
    require_status(response, -200)
    server.compare(response, data)


def _an_interim_response_has_the_same_location(server: ResumableServer) -> None:
    with server.peer.begin("POST", server.peer.url, server.fields(False), 1000) as connection:
        connection.send(b"1" * 500)
        interim = connection.interim(INTERIM)
        connection.send(b"1" * 500)
        connection.end()
        response = connection.response()
    if interim is None or interim.status != 104:
        raise NotOffered("no 104 comes")
    found = interim.headers.get("location"), response.headers.get("location")
    check(found[0] == found[1], f"104 and the final response have {found}")
    if server.version != FINAL:
        version = interim.headers.get("upload-draft-interop-version")
        check(version == str(server.version), f"104 with version {version}")


def _other_versions_get_no_interim(server: ResumableServer) -> None:
    fields = server.fields(True) | {"upload-draft-interop-version": "2"}
    with server.peer.begin("POST", server.peer.url, fields, 1000) as connection:
        connection.send(b"1" * 500)
        interim = connection.interim(INTERIM / 4)
        connection.send(b"1" * 500)
        connection.end()
    check(interim is None or interim.status != 104, "104 came for version 2")


def _a_plain_upload_gets_no_interim(server: ResumableServer) -> None:
    with server.peer.begin("POST", server.peer.url, {}, 1000) as connection:
        connection.send(b"1" * 500)
        interim = connection.interim(INTERIM / 4)
        connection.send(b"1" * 500)
        connection.end()
    check(interim is None or interim.status != 104, "104 came without Upload-Complete")


def _an_expectation_is_answered(server: ResumableServer) -> None:
    fields = server.fields(True) | {"expect": "100-continue"}
    with server.peer.begin("POST", server.peer.url, fields, 5) as connection:
        check(connection.may_continue(), "there was neither 100 nor a final response")
        connection.send(b"12345")
        connection.end()
        require_status(connection.response(), -200)


def _the_largest_size_holds(server: ResumableServer) -> None:
    server.needs(6)
    if "max-size" not in server.limits:
        raise NotOffered("there is no max-size")
    response = server.post(b"", False, upload_length=int(server.limits["max-size"]) + 1)
    require_status(response, 413)
    check("upload-limit" in response.headers, "413 without Upload-Limit")


def _offsets_count_coded_bytes(server: ResumableServer) -> None:
    data = gzip.compress(pattern(5000))
    response = server.post(data[:20], False, content_encoding="gzip")
    if response.status == 415:
        raise NotOffered("the server takes no coded files")
    server.require_unchanged(server.location(response), 20)


def _a_wrong_digest_of_the_whole_is_refused(server: ResumableServer) -> None:
    wrong = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
    response = server.post(b"12345", True, repr_digest=wrong)
    check(response.status // 100 == 4, f"{response.status} to another digest")


def _a_whole_file_says_its_offset(server: ResumableServer) -> None:
    found = server.post(b"12345", True).headers.get("upload-offset")
    check(found == "5", f"Upload-Offset: {found}")


def _a_chunked_file_may_say_its_length(server: ResumableServer) -> None:
    server.needs(6)
    require_status(server.post(b"12345", True, chunked=True, upload_length=5), -200)
    response = server.post(b"12345", True, chunked=True, upload_length=6)
    check(response.status // 100 == 4, f"{response.status} to 5 bytes of 6")


def _no_integer_is_ignored(server: ResumableServer) -> None:
    server.needs(6)
    for text in ("five", "5.0", "?1", "5, 5"):
        response = server.post(b"12345", True, upload_length=text)
        check(response.is_good, f"{response.status} to Upload-Length: {text}")


TEXT = "draft-ietf-httpbis-resumable-upload"
LIMITS, CREATION = f"{TEXT}, Upload-Limit", f"{TEXT}, Upload Creation"
INTERIM_TEXT, FIELDS = f"{TEXT}, 104 (Upload Resumption Supported)", "RFC 9651"
ROWS = (
    (MUST, LIMITS, "OPTIONS names the limits", _options_name_the_limits),
    (MUST, CREATION, "A whole file in one request is stored", _a_whole_file_is_stored),
    (SHOULD, CREATION, "Its response is Upload-Complete", _the_last_response_says_that_it_is_whole),
    (MUST, CREATION, "An empty file is stored", _an_empty_file_is_stored),
    (MUST, CREATION, "A begun upload has a Location", _a_begun_upload_has_a_location),
    (CHOICE, CREATION, "A begun upload says its offset", _a_begun_upload_says_its_offset),
    (MUST, CREATION, "A begun upload says its limits", _a_begun_upload_says_its_limits),
    (CHOICE, CREATION, "A response names the version of the request", _the_version_is_echoed),
    (MUST, CREATION, "An upload may begin without bytes", _an_upload_begins_empty),
    (MUST, CREATION, "Upload-Length is remembered", _a_length_is_remembered),
    (MUST, CREATION, "Lengths that disagree are refused", _lengths_that_disagree_are_refused),
    (MUST, FIELDS, "A parameter of ?0 is ignored", _a_parameter_of_a_boolean_is_ignored),
    (SHOULD, INTERIM_TEXT, "A cut creation goes on where 104 says", _a_cut_creation_goes_on),
    (
        MUST,
        INTERIM_TEXT,
        "104 has the Location of the final response",
        _an_interim_response_has_the_same_location,
    ),
    (
        MUST,
        INTERIM_TEXT,
        "A version that is not spoken gets no 104",
        _other_versions_get_no_interim,
    ),
    (MUST, INTERIM_TEXT, "A plain upload gets no 104", _a_plain_upload_gets_no_interim),
    (MUST, "RFC 9110 10.1.1", "Expect: 100-continue is answered", _an_expectation_is_answered),
    (SHOULD, LIMITS, "A length above max-size gets 413 and the limits", _the_largest_size_holds),
    (MUST, CREATION, "Offsets count coded bytes", _offsets_count_coded_bytes),
    (
        CHOICE,
        "RFC 9530 3",
        "A wrong Repr-Digest is refused",
        _a_wrong_digest_of_the_whole_is_refused,
    ),
    (CHOICE, CREATION, "A stored file has its Upload-Offset", _a_whole_file_says_its_offset),
    (MUST, CREATION, "A chunked file may have Upload-Length", _a_chunked_file_may_say_its_length),
    (MUST, "RFC 9651", "Upload-Length of another type is ignored", _no_integer_is_ignored),
)
CASES = numbered("resumable-creation", ROWS)
