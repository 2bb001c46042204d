"""tus 1.0.0: creation, with a body, with a length that comes later, and its expiry."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

from sluiceway.testing.conformance.case import Level, check, numbered, require_status
from sluiceway.testing.conformance.outcomes import NotOffered
from sluiceway.testing.conformance.tus_server import (
    OFFSET_STREAM,
    VERSION,
    TusServer,
    coded,
    pattern,
)

__all__ = ["CASES"]

MUST, SHOULD, CHOICE = Level.MUST, Level.SHOULD, Level.CHOICE
LARGE_METADATA = 20 << 10  # bytes; above what a name and some notes need
HTTP_DATE = re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")


def _a_creation_has_a_location(tus: TusServer) -> None:
    first, second = tus.create(10), tus.create(10)
    check(first != second, "two uploads have one URL")


def _an_empty_upload_is_whole(tus: TusServer) -> None:
    url = tus.create(0)
    response = tus.head(url)
    require_status(response, 200, 204)
    found = (response.headers.get("upload-offset"), response.headers.get("upload-length"))
    check(found == ("0", "0"), f"offset and length are {found}")


def _the_largest_size_holds(tus: TusServer) -> None:
    tus.needs("creation")
    most = tus.options.headers.get("tus-max-size")
    if most is None:
        raise NotOffered("there is no Tus-Max-Size")
    require_status(tus.post({"upload-length": str(int(most) + 1)}), 413)


def _lengths_are_digits(tus: TusServer) -> None:
    tus.needs("creation")
    for text in ("-1", "+1", "1.5", "0x1", "1_0", "ten", "1,1"):
        response = tus.post({"upload-length": text})
        check(response.status == 400, f"{response.status} to Upload-Length: {text}")


def _a_huge_length_is_no_server_error(tus: TusServer) -> None:
    tus.needs("creation")
    for number in (2**53, 2**63 - 1, 2**63, 10**30):
        response = tus.post({"upload-length": str(number)})
        check(response.status < 500 or response.status == 507, f"{response.status} to {number}")


def _one_length_is_required(tus: TusServer) -> None:
    tus.needs("creation")
    require_status(tus.post({}), 400)
    require_status(tus.post({"upload-length": "1", "upload-defer-length": "1"}), 400)


def _metadata_come_back(tus: TusServer) -> None:
    text = f"filename {coded('naïve.txt')},empty ,is_private,filetype {coded('text/plain')}"
    found = tus.head(tus.create(1, upload_metadata=text)).headers.get("upload-metadata")
    check(found == text, f"sent {text!r}, got {found!r}")


def _unreadable_metadata_are_refused(tus: TusServer) -> None:
    tus.needs("creation")
    for text in (f"a {coded('1')},a {coded('2')}", "a %%%", "a b c", ",", "a YQ==,,b YQ=="):
        response = tus.post({"upload-length": "1", "upload-metadata": text})
        check(response.status == 400, f"{response.status} to Upload-Metadata: {text}")


def _large_metadata_are_refused(tus: TusServer) -> None:
    tus.needs("creation")
    text = f"a {coded(b'x' * LARGE_METADATA)}"
    response = tus.post({"upload-length": "1", "upload-metadata": text})
    check(response.status // 100 == 4, f"{response.status} to {len(text)} characters")


def _metadata_smuggle_no_header(tus: TusServer) -> None:
    text = f"filename {coded(b'a' + bytes([13, 10]) + b'X-Smuggled: 1')}"
    created = tus.post({"upload-length": "1", "upload-metadata": text})
    check("x-smuggled" not in created.headers, "the creation's response has the header")
    if created.is_good:
        url = tus.location(created)
        for response in (tus.head(url), tus.patch(url, 0, b"1")):
            check("x-smuggled" not in response.headers, "a response has the header")


def _a_deferred_length_is_said(tus: TusServer) -> None:
    headers = tus.head(tus.create(None)).headers
    check(headers.get("upload-defer-length") == "1", "HEAD has no Upload-Defer-Length: 1")
    check("upload-length" not in headers, "HEAD has an Upload-Length")


def _the_deferred_value_is_1(tus: TusServer) -> None:
    tus.needs("creation-defer-length")
    for text in ("0", "2", "true"):
        require_status(tus.post({"upload-defer-length": text}), 400)


def _a_deferred_length_comes_later(tus: TusServer) -> None:
    url, data = tus.create(None), pattern(1000)
    tus.append(url, 0, data[:400])
    tus.append(url, 400, data[400:500], upload_length="1000")
    headers = tus.head(url).headers
    check(headers.get("upload-length") == "1000", f"Upload-Length: {headers.get('upload-length')}")
    check("upload-defer-length" not in headers, "Upload-Defer-Length is still there")
    tus.finish(url, data)


def _a_length_never_changes(tus: TusServer) -> None:
    url = tus.create(None)
    tus.append(url, 0, b"1234", upload_length="10")
    response = tus.patch(url, 4, b"5", upload_length="11")
    check(response.status // 100 == 4, f"{response.status} to another length")
    check(tus.head(url).headers.get("upload-length") == "10", "the length changed")
    tus.require_unchanged(url, 4)


def _a_length_below_the_offset_is_refused(tus: TusServer) -> None:
    url = tus.create(None)
    tus.append(url, 0, b"1234")
    response = tus.patch(url, 4, b"", upload_length="3")
    check(response.status // 100 == 4, f"{response.status}")
    tus.require_unchanged(url, 4)


def _a_creation_takes_bytes(tus: TusServer) -> None:
    tus.needs("creation-with-upload")
    data = pattern(5000)
    response = tus.post({"upload-length": "5000", **OFFSET_STREAM}, data[:2000])
    url = tus.location(response)
    found = response.headers.get("upload-offset")
    check(found == "2000", f"201 with Upload-Offset: {found}")
    tus.finish(url, data)


def _a_creation_takes_all_bytes(tus: TusServer) -> None:
    tus.needs("creation-with-upload")
    data = pattern(5000)
    for chunked in (False, True):
        response = tus.post({"upload-length": "5000", **OFFSET_STREAM}, data, chunked=chunked)
        url = tus.location(response)
        check(response.headers.get("upload-offset") == "5000", f"{response.headers}")
        tus.compare(url, response, data)


def _a_body_of_another_type_is_ignored(tus: TusServer) -> None:
    tus.needs("creation-with-upload")
    response = tus.post({"upload-length": "4", "content-type": "text/plain"}, b"1234")
    check(tus.offset(tus.location(response)) == 0, "the bytes were taken")


def _too_many_bytes_are_refused(tus: TusServer) -> None:
    tus.needs("creation-with-upload")
    for chunked in (False, True):
        response = tus.post({"upload-length": "3", **OFFSET_STREAM}, b"1234", chunked=chunked)
        require_status(response, 413)


def _an_expectation_is_answered(tus: TusServer) -> None:
    tus.needs("creation-with-upload")
    fields = {**VERSION, **OFFSET_STREAM, "upload-length": "4", "expect": "100-continue"}
    with tus.peer.begin("POST", tus.peer.url, fields, 4) as connection:
        check(connection.may_continue(), "there was neither 100 nor a final response")
        connection.send(b"1234")
        connection.end()
        tus.location(connection.response())


def _an_expiry_is_a_date(tus: TusServer) -> None:
    tus.needs("expiration", "creation")
    created = tus.post({"upload-length": "10"})
    response = tus.patch(tus.location(created), 0, b"1")
    for name, each in (("POST", created), ("PATCH", response)):
        text = each.headers.get("upload-expires", "")
        check(HTTP_DATE.fullmatch(text), f"{name} has Upload-Expires: {text!r}")
        parsedate_to_datetime(text)


def _a_refusal_says_the_expiry(tus: TusServer) -> None:
    tus.needs("expiration")
    url = tus.create(10)
    if "upload-expires" not in tus.head(url).headers:
        raise NotOffered("this upload does not expire")
    check("upload-expires" in tus.patch(url, 5, b"12").headers, "409 has no Upload-Expires")


CREATION, DEFER = "tus 1.0.0, Creation", "tus 1.0.0, Creation, Upload-Defer-Length"
WITH, EXPIRATION = "tus 1.0.0, Creation With Upload", "tus 1.0.0, Expiration"
ROWS = (
    (MUST, CREATION, "A creation gets 201 and a Location of its own", _a_creation_has_a_location),
    (MUST, CREATION, "An upload of no bytes is whole at once", _an_empty_upload_is_whole),
    (MUST, CREATION, "A length above Tus-Max-Size gets 413", _the_largest_size_holds),
    (MUST, CREATION, "Upload-Length is digits alone", _lengths_are_digits),
    (CHOICE, CREATION, "A huge length is not a server error", _a_huge_length_is_no_server_error),
    (MUST, CREATION, "A creation says one length, or that it comes later", _one_length_is_required),
    (MUST, CREATION, "HEAD repeats Upload-Metadata as it was sent", _metadata_come_back),
    (CHOICE, CREATION, "Metadata that break the grammar get 400", _unreadable_metadata_are_refused),
    (CHOICE, CREATION, "More than 16 KiB of metadata are refused", _large_metadata_are_refused),
    (MUST, CREATION, "Metadata smuggle no header into a response", _metadata_smuggle_no_header),
    (MUST, DEFER, "HEAD says that the length comes later", _a_deferred_length_is_said),
    (MUST, DEFER, "Upload-Defer-Length has no value but 1", _the_deferred_value_is_1),
    (MUST, DEFER, "A PATCH says the length", _a_deferred_length_comes_later),
    (MUST, DEFER, "A length that was said never changes", _a_length_never_changes),
    (CHOICE, DEFER, "A length below the offset is refused", _a_length_below_the_offset_is_refused),
    (MUST, WITH, "A creation takes the first bytes and says the offset", _a_creation_takes_bytes),
    (MUST, WITH, "A creation takes all bytes", _a_creation_takes_all_bytes),
    (CHOICE, WITH, "A body of another type is ignored", _a_body_of_another_type_is_ignored),
    (CHOICE, WITH, "Bytes beyond the length get 413", _too_many_bytes_are_refused),
    (MUST, "RFC 9110 10.1.1", "Expect: 100-continue is answered", _an_expectation_is_answered),
    (MUST, EXPIRATION, "Upload-Expires is an HTTP date on POST and PATCH", _an_expiry_is_a_date),
    (MUST, EXPIRATION, "A refused PATCH says Upload-Expires, too", _a_refusal_says_the_expiry),
)
CASES = numbered("tus-creation", ROWS)
