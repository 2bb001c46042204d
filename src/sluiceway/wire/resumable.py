"""Resumable uploads for HTTP (draft-ietf-httpbis-resumable-upload): fields parsed and written.

Interop versions 3 to 9, and the form without a version that the RFC will have. Sans-IO; knows no
request, no upload, no store. What the versions do differently stands in one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import http_sf

from sluiceway.errors import BadRequest
from sluiceway.wire.numbers import MOST_INTEGER

__all__ = [
    "FINAL_FORM",
    "PARTIAL_UPLOAD",
    "VERSIONS",
    "VERSION_FIELD",
    "Announcement",
    "ProtocolVersion",
    "UploadLimits",
    "check_creation",
    "is_creation",
    "parse_announcement",
    "parse_version",
    "write_fields",
]

PARTIAL_UPLOAD = "application/partial-upload"
VERSION_FIELD = "upload-draft-interop-version"
MOST_SF_INTEGER = 10**15 - 1  # RFC 9651 3.3.1


@dataclass(frozen=True, slots=True)
class ProtocolVersion:
    """What one interop version does.

    Args:
        number: None for the final form, whose requests name no version.
        says_incomplete: Upload-Incomplete instead of Upload-Complete (-01 only).
        must_say_complete: An append that says nothing is wrong; before, it was the last one.
        partial_type: Appends have the content type application/partial-upload.
        unfinished_append: The status of an append that is not the last one.
        has_limits: Upload-Limit and Upload-Length are known.
        age_key: The key of Upload-Limit for the seconds that are left.
        refuses_extra_fields: HEAD and DELETE with the fields of an upload are wrong.
        knows_completed: The problem type of an append to a completed upload exists.
        forgets_ended: An upload that is gone is 404; later, 410 may say more.
        tells_progress: Interim responses may have an offset.
    """

    number: int | None
    says_incomplete: bool = False
    must_say_complete: bool = True
    partial_type: bool = True
    unfinished_append: int = 204
    has_limits: bool = True
    age_key: str = "max-age"
    refuses_extra_fields: bool = False
    knows_completed: bool = False
    forgets_ended: bool = False
    tells_progress: bool = True


FINAL_FORM = ProtocolVersion(None)
_NINE = ProtocolVersion(9)  # -12
_EIGHT = replace(_NINE, number=8, knows_completed=True)  # -09 to -11; iOS 26
_SEVEN = replace(_EIGHT, number=7)  # -06 to -08
_SIX = replace(  # -04 and -05; iOS 18.1
    _SEVEN,
    number=6,
    must_say_complete=False,
    unfinished_append=201,
    age_key="expires",
    refuses_extra_fields=True,
    forgets_ended=True,
)
_FIVE = replace(  # -03; iOS 18.0
    _SIX, number=5, partial_type=False, has_limits=False, knows_completed=False
)
_FOUR = replace(_FIVE, number=4, tells_progress=False)  # -02
_THREE = replace(_FOUR, number=3, says_incomplete=True)  # -01; iOS 17
VERSIONS: Mapping[int, ProtocolVersion] = {
    version.number or 0: version for version in (_THREE, _FOUR, _FIVE, _SIX, _SEVEN, _EIGHT, _NINE)
}


_UNNUMBERED_THREE = replace(_THREE, number=None)  # Upload-Incomplete exists in -01 only
_COMPLETENESS = ("upload-complete", "upload-incomplete")


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a creation or an append says of its upload.

    Args:
        complete: Whether these are the last bytes; None where the request does not say.
        offset: Of an append.
        length: Bytes of the whole upload.
    """

    complete: bool | None
    offset: int | None
    length: int | None


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Upload-Limit, in bytes and seconds; None for no limit.

    Below `min_size` an upload may be accepted, but cannot be resumed.
    """

    max_size: int | None = None
    seconds_left: int | None = None
    min_size: int | None = None

    def write(self, version: ProtocolVersion) -> str:
        """Never empty: no limit is min-size=0."""
        limits = {
            "max-size": self.max_size,
            "min-size": self.min_size,
            version.age_key: self.seconds_left,
        }
        found = [
            f"{key}={min(value, MOST_SF_INTEGER)}"
            for key, value in limits.items()
            if value is not None
        ]
        return ", ".join(found) or "min-size=0"


def is_creation(headers: Mapping[str, str]) -> bool:
    """Whether a request with content creates an upload, or tries to."""
    return any(field in headers for field in _COMPLETENESS)


def check_creation(version: ProtocolVersion, headers: Mapping[str, str]) -> None:
    """Raises BadRequest for a request that may bring a piece and cannot be understood.

    RFC 9651 has such a field ignored; then the piece would be stored as a whole file.
    """
    ours = "upload-incomplete" if version.says_incomplete else "upload-complete"
    said = {}
    for field in _COMPLETENESS:
        if field in headers:
            value = _boolean(headers[field])
            said[field] = None if value is None else value is (field == "upload-complete")
    meanings = set(said.values())
    if None in meanings or len(meanings) > 1 or (ours not in said and False in meanings):
        name = "Upload-Incomplete" if version.says_incomplete else "Upload-Complete"
        raise BadRequest(f"{name} must be ?1 or ?0 in this version of resumable uploads")


def parse_version(headers: Mapping[str, str]) -> ProtocolVersion:
    """The version that a request speaks. Raises BadRequest for one that is not known here."""
    text = headers.get(VERSION_FIELD)
    if text is None:
        by_name = "upload-incomplete" in headers and "upload-complete" not in headers
        return _UNNUMBERED_THREE if by_name else FINAL_FORM
    number = _integer(text)
    if number is None or number not in VERSIONS:
        known = ", ".join(map(str, VERSIONS))
        raise BadRequest(
            f"This server speaks the interop versions {known} of resumable uploads, and the form "
            "without a version"
        )
    return VERSIONS[number]


def parse_announcement(version: ProtocolVersion, headers: Mapping[str, str]) -> Announcement:
    """The fields of a creation or an append. A field of the wrong type counts as absent."""
    if version.says_incomplete:
        incomplete = _boolean(headers.get("upload-incomplete"))
        complete = None if incomplete is None else not incomplete
    else:
        complete = _boolean(headers.get("upload-complete"))
    length = _integer(headers.get("upload-length")) if version.has_limits else None
    return Announcement(complete, _integer(headers.get("upload-offset")), length)


def write_fields(
    version: ProtocolVersion,
    *,
    offset: int | None,
    complete: bool,
    length: int | None = None,
    limits: UploadLimits | None = None,
) -> dict[str, str]:
    """The fields of a response: what every version may have, and some must."""
    fields = {}
    if version.number is not None:
        fields["Upload-Draft-Interop-Version"] = str(version.number)
    if version.says_incomplete:
        fields["Upload-Incomplete"] = _write_boolean(not complete)
    else:
        fields["Upload-Complete"] = _write_boolean(complete)
    if offset is not None:
        fields["Upload-Offset"] = str(offset)
    if length is not None and version.has_limits:
        fields["Upload-Length"] = str(length)
    if limits is not None and version.has_limits:
        fields["Upload-Limit"] = limits.write(version)
    return fields


def _write_boolean(value: bool) -> str:
    return "?1" if value else "?0"


def _item(text: str | None) -> object:
    """The value of an item; its parameters do not matter. None for anything else."""
    if text is None:
        return None
    try:
        parsed = http_sf.parse(text.encode("ascii", "replace"), tltype="item")
    except ValueError:
        return None
    return cast("tuple[object, object]", parsed)[0]


def _boolean(text: str | None) -> bool | None:
    value = _item(text)
    return value if isinstance(value, bool) else None


def _integer(text: str | None) -> int | None:
    value = _item(text)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MOST_INTEGER else None
