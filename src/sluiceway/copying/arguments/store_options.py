"""The URL of a place as a side of a copy: options in its query, and what it must name.

Pure text.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from sluiceway.errors import BadRequest
from sluiceway.stores.registry import split_place
from sluiceway.wire.urls import is_place

__all__ = ["check_place", "with_store_options"]


def with_store_options(side: str, given: Mapping[str, str] | None) -> str:
    """The URL of a place, with the options in its query; what stands there already wins.

    Raises BadRequest for an option that is not text.
    """
    options = dict(given or {})
    if not options or not is_place(side) or side.lower().startswith(("postgres", "sqlite")):
        return side
    for name, value in options.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise BadRequest("Each of store_option is a name and a value, both text")
    address, _, query = side.partition("?")
    if side.lower().startswith("fsspec+"):
        options.pop("ca_file", None)  # each of its libraries has another name for that
    options |= dict(parse_qsl(query, keep_blank_values=True))
    return f"{address}?{urlencode(options)}" if options else side


def check_place(side: str) -> None:
    """Raises BadRequest for a place whose URL lacks the bucket or database."""
    scheme = side.partition("://")[0].lower()
    if scheme == "sqlite":
        split_place(side)
        return
    parts = urlsplit(side)
    if scheme in ("s3", "gs", "az") and not parts.netloc:
        bucket = "container" if scheme == "az" else "bucket"
        raise BadRequest(f"{scheme}:// names no {bucket}; write {scheme}://{bucket.upper()}/KEY")
    if scheme in ("postgresql", "postgres") and not parts.netloc and not parts.path.strip("/"):
        raise BadRequest(f"{scheme}:// names no database; write {scheme}://HOST/DATABASE/KEY")
