"""Where objects are copied, in this process or by a cluster, and which journals there are.

Text only, as in `options`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sluiceway.client.file_request import FORM_END
from sluiceway.copying.arguments.keywords import CopyAllKeywords
from sluiceway.errors import BadRequest
from sluiceway.wire.urls import is_place, is_url

__all__ = ["check_engine", "checked_journal"]

ENGINES = ("local", "dask")
IN_FILES = ("sqlite:", "fsspec+file:", "fsspec+local:", "fsspec+memory:")


def check_engine(given: CopyAllKeywords, source: str, target: str) -> None:
    """Raises BadRequest for what a cluster cannot do: its workers share no disk with each other."""
    engine, scheduler = given.get("engine", "local"), given.get("scheduler")
    if engine not in ENGINES:
        raise BadRequest("The engine is local or dask")
    if engine == "local":
        if scheduler is not None:
            raise BadRequest("A scheduler is for the engine dask; name both, or neither")
        return
    if not scheduler:
        raise BadRequest("The engine dask needs the address of its scheduler: tcp://HOST:PORT")
    if "://" not in scheduler:
        raise BadRequest("A scheduler's address is written as tcp://HOST:PORT or tls://HOST:PORT")
    if given.get("unpack") is not None or not source or not target:
        raise BadRequest(
            "A tar is read by one process, as an object of this program is: leave out the engine"
        )
    if given.get("limit_rate") is not None:
        raise BadRequest("A rate cannot be kept by several workers; leave out the limit")
    if not (is_url(target) or is_place(target)) or target.lower().startswith(IN_FILES):
        raise BadRequest(
            "The workers of a cluster would each write to a disk of their own; name a server, a "
            "bucket or a database as the destination"
        )
    if source.lower().startswith(IN_FILES):
        raise BadRequest("The workers of a cluster cannot share this source; copy it here")
    if is_url(target) and urlsplit(target).path.endswith(FORM_END):
        raise BadRequest(
            "A form that is sent again makes a second file, and a cluster runs a task again when a "
            "worker dies; name a URL that ends in / for one PUT each"
        )


def checked_journal(journal: str) -> str:
    """A path, or the URL of a PostgreSQL database. Raises BadRequest."""
    if is_url(journal) or (
        is_place(journal) and not journal.lower().startswith(("postgresql:", "postgres:"))
    ):
        raise BadRequest("A journal is a file or a PostgreSQL database: postgresql://HOST/DATABASE")
    return journal
