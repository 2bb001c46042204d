"""An event as CloudEvents 1.0 writes it: a JSON object with its attributes and its data.

Structured mode: attributes and data are one body, so one signature covers all. Sans-IO.
https://github.com/cloudevents/spec has the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from sluiceway.errors import BadRequest

__all__ = ["MEDIA_TYPE", "check_source", "cloud_event"]

MEDIA_TYPE = "application/cloudevents+json"
MOST_SOURCE = 512  # characters

# What no attribute may hold: control characters, surrogates without their pair, noncharacters
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
# The characters of a URI-reference (RFC 3986)
_SOURCE = re.compile(rf"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{{1,{MOST_SOURCE}}}")


def cloud_event(
    name: str,
    kind: str,
    source: str,
    subject: str,
    time: float,
    data: Mapping[str, object],
    extensions: Mapping[str, str],
) -> str:
    """The JSON of an event, in ASCII: a key may hold what is not text in UTF-8.

    `time` is in seconds since the epoch. What `subject` must not hold is replaced in it; an empty
    one is left out. Extensions have names in lower case, and are left out where they are empty.
    """
    when = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": name,
        "source": source,
        "type": kind,
        "time": when.replace("+00:00", "Z"),
        "datacontenttype": "application/json",
    }
    if subject:
        event["subject"] = _FORBIDDEN.sub("\ufffd", subject)
    event |= {key: value for key, value in extensions.items() if value}
    return json.dumps({**event, "data": data})


def check_source(text: str) -> str:
    """Raises BadRequest for what is not a URI-reference."""
    if not _SOURCE.fullmatch(text):
        raise BadRequest(
            f"it is a URI or a path, such as https://files.example.com/files, of at most "
            f"{MOST_SOURCE} characters, not {text!r}"
        )
    return text
