"""An upload as the ledger knows it, and its form in a row.

A row outlives requests, processes and power cuts. `offset` covers only bytes that the destination
keeps. Each new holder raises the epoch; what an earlier one still writes is refused.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sluiceway.stores.contract import Replace, UploadRequest
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.ledger.states import LedgerState, step

__all__ = [
    "ADOPTED",
    "BASE",
    "COLUMNS",
    "LAST",
    "PART",
    "WHOLE",
    "FinalResponse",
    "UploadRecord",
    "begun_anew",
    "changed_record",
    "from_row",
    "to_row",
]

# In the details of a part: that it is one, and the upload that it ends with, where it is known.
PART, WHOLE = "part", "whole"
# In the details of an upload that was adopted: when its PUT began, which may be before one that
# runs. It gets the PUT's reservation.
ADOPTED = "adopted"
LAST = "last"  # the offset at which the request began that ended the upload
REMEMBERED = 64  # requests and their texts
BASE = "base"  # the version of the object that an upload to a key would replace; "" for none


@dataclass(frozen=True, slots=True)
class FinalResponse:
    """What the client's last request got, or would have got: a repeated one gets it again.

    Args:
        status: The HTTP status.
        headers: Pairs of name and value.
        body: At most a few KiB: a receipt or a problem.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """One upload.

    Args:
        id: The upload's id, a secret of its client.
        dialect: The protocol that made it; only this one may go on with it.
        request: What the client asked for at its creation.
        created: Seconds since the epoch, by the ledger's clock; so is `expires`.
        state: See `states`.
        epoch: How often the upload got a new holder.
        holder: The name of the process that may write, "" for none.
        offset: Bytes that the destination keeps.
        length: Bytes of the whole upload, None while it is unknown.
        draft: What the store needs to take up its draft again; "" before the first byte.
        details: What only the dialect reads, such as the metadata as it was sent.
        expires: Seconds since the epoch after which it is removed; None for never.
        key: Where it is being published, or was.
        response: The final response of its last request.
        code: The error code of an upload that is gone.
    """

    id: str
    dialect: str
    request: UploadRequest
    created: float
    state: LedgerState = LedgerState.OPEN
    epoch: int = 0
    holder: str = ""
    offset: int = 0
    length: int | None = None
    draft: str = ""
    details: Mapping[str, str] = dataclasses.field(default_factory=dict)
    expires: float | None = None
    key: str = ""
    response: FinalResponse | None = None
    code: str = ""

    @property
    def is_part(self) -> bool:
        """Whether these are only bytes of another upload."""
        return PART in self.details

    @property
    def whole(self) -> str:
        """The id of the upload that this one is sent beside; "" for none."""
        return self.details.get(WHOLE, "")

    @property
    def last_start(self) -> int | None:
        """The offset at which the last request began; None where nobody knows it."""
        return int(self.details[LAST]) if LAST in self.details else None


COLUMNS = tuple(field.name for field in dataclasses.fields(UploadRecord))


def begun_anew(
    request: UploadRequest,
    length: int | None,
    details: Mapping[str, str],
    expiry: Expiry,
    now: float,
) -> dict[str, Any]:
    """What changes in the record of an upload that begins anew under its id, by the ledger's
    clock."""
    return {
        "request": request,
        "length": length,
        "created": now,
        "expires": expiry.begun(now),
        "offset": 0,
        "draft": "",
        "details": details,
        "key": "",
        "response": None,
        "code": "",
    }


def changed_record(
    record: UploadRecord, event: str, expiry: Expiry, now: float, changes: Mapping[str, object]
) -> UploadRecord:
    """The record after an event, "" for none, and with these changes by name. `now` is by the
    ledger's clock."""
    found = dict(changes)
    if event:
        found["state"] = state = step(record.state, event)
        if state in (LedgerState.DONE, LedgerState.GONE):
            found["expires"] = expiry.ended(now)
    elif found.get("offset"):
        found["expires"] = expiry.moved(record.expires, now)
    return dataclasses.replace(record, **found)  # type: ignore[arg-type]  # by name


def to_row(record: UploadRecord) -> tuple[Any, ...]:
    """The values of the columns, in order."""
    values = {name: getattr(record, name) for name in COLUMNS}
    values["request"] = _request_text(record.request)
    values["details"] = json.dumps(dict(record.details)) if record.details else "{}"
    values["state"] = record.state.value
    if record.response is not None:
        answer = record.response
        values["response"] = json.dumps((answer.status, answer.headers, answer.body))
    return tuple(values.values())


def from_row(row: tuple[Any, ...]) -> UploadRecord:
    """The record of a row. Raises ValueError, TypeError, KeyError for one that is not ours."""
    values = dict(zip(COLUMNS, row, strict=True))
    values["request"] = _request_of(values["request"])
    values["details"] = json.loads(values["details"])
    values["state"] = LedgerState(values["state"])
    if values["response"] is not None:
        status, headers, body = json.loads(values["response"])
        pairs = tuple((name, value) for name, value in headers)
        values["response"] = FinalResponse(status, pairs, body)
    return UploadRecord(**values)


def _request_text(request: UploadRequest) -> str:
    """A row is written several times in the life of an upload, mostly with one request."""
    known = _texts.get(id(request))
    if known is not None and known[0] is request:
        return known[1]
    fields = {
        name: value for name, usual in _USUAL.items() if (value := getattr(request, name)) != usual
    }
    if "expected" in fields:
        fields["expected"] = {name: value.hex() for name, value in request.expected.items()}
    if "values" in fields:
        fields["values"] = dict(request.values)
    if "fields" in fields:
        fields["fields"] = list(request.fields)
    if "replace" in fields:
        fields["replace"] = dataclasses.astuple(request.replace)
    text = json.dumps(fields)
    if len(_texts) >= REMEMBERED:
        _texts.clear()
    _texts[id(request)] = request, text
    return text


@lru_cache(REMEMBERED)
def _request_of(text: str) -> UploadRequest:
    fields = json.loads(text)
    for name in ("headers", "user", "fields"):
        if name in fields:
            fields[name] = tuple((key, value) for key, value in fields[name])
    if "expected" in fields:
        expected = fields["expected"]
        fields["expected"] = {name: bytes.fromhex(value) for name, value in expected.items()}
    if "replace" in fields:
        fields["replace"] = Replace(*fields["replace"])
    return UploadRequest(**fields)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


_USUAL = {field.name: _default(field) for field in dataclasses.fields(UploadRequest)}
_texts: dict[int, tuple[UploadRequest, str]] = {}  # by the request's id, which lives as long
