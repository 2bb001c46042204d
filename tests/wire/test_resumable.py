"""Fields of resumable uploads: structured fields are read properly, one table has the versions."""

from __future__ import annotations

import pytest

from sluiceway.errors import BadRequest
from sluiceway.wire.resumable import (
    FINAL_FORM,
    VERSIONS,
    Announcement,
    UploadLimits,
    check_creation,
    is_creation,
    parse_announcement,
    parse_version,
    write_fields,
)


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("?1", True),
        ("?0", False),
        ("?1;x=1", True),
        (" ?1 ", True),
        ("1", None),
        ("true", None),
        ("?2", None),
        ("?1, ?0", None),
        ("", None),
        ('"?1"', None),
        ("?1\u0661", None),
    ],
)
def test_completeness_is_a_structured_boolean(text: str, complete: bool | None) -> None:
    """A field of another type counts as absent."""
    assert parse_announcement(FINAL_FORM, {"upload-complete": text}).complete is complete
    assert is_creation({"upload-complete": text})
    if complete is None:  # it may be a piece
        with pytest.raises(BadRequest):
            check_creation(FINAL_FORM, {"upload-complete": text})
    else:
        check_creation(FINAL_FORM, {"upload-complete": text})


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("7;a=b", 7),
        ("999999999999999", 999_999_999_999_999),
        ("1000000000000000", None),
        ("-1", None),
        ("1.0", None),
        ("+1", None),
        ("1_0", None),
        ("?1", None),
        ("1, 2", None),
        ("\u0661", None),
    ],
)
def test_offsets_and_lengths_are_structured_integers(text: str, number: int | None) -> None:
    headers = {"upload-offset": text, "upload-length": text}
    assert parse_announcement(FINAL_FORM, headers) == Announcement(None, number, number)


def test_the_first_version_says_the_opposite() -> None:
    """Upload-Incomplete: ?1 means that more will come."""
    found = parse_announcement(VERSIONS[3], {"upload-incomplete": "?1", "upload-complete": "?1"})
    assert found.complete is False
    assert write_fields(VERSIONS[3], offset=5, complete=True, length=9) == {
        "Upload-Draft-Interop-Version": "3",
        "Upload-Incomplete": "?0",
        "Upload-Offset": "5",
    }


def test_limits_are_never_empty_and_name_the_age_as_the_version_does() -> None:
    limits = UploadLimits(max_size=10, seconds_left=60)
    assert UploadLimits().write(FINAL_FORM) == "min-size=0"
    assert limits.write(VERSIONS[6]) == "max-size=10, expires=60"
    assert limits.write(VERSIONS[8]) == "max-size=10, max-age=60"
    assert write_fields(VERSIONS[9], offset=None, complete=False, length=3, limits=limits) == {
        "Upload-Draft-Interop-Version": "9",
        "Upload-Complete": "?0",
        "Upload-Length": "3",
        "Upload-Limit": "max-size=10, max-age=60",
    }


def test_a_request_names_a_version_that_is_spoken_here() -> None:
    assert parse_version({}) is FINAL_FORM
    assert list(VERSIONS) == [3, 4, 5, 6, 7, 8, 9]
    for number, version in VERSIONS.items():
        assert parse_version({"upload-draft-interop-version": str(number)}) is version
        assert version.number == number
    for text in ("2", "10", "x", "6.0", ""):
        with pytest.raises(BadRequest):
            parse_version({"upload-draft-interop-version": text})
