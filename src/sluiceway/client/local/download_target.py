"""Where a download goes: a path, a folder with a name from the server, or an output stream.

The calls block; run them in a thread. A name from a server never leads out of the chosen folder.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from sluiceway.client.http.exchange import Head
from sluiceway.client.local.folders import Folder
from sluiceway.client.local.output_stream import OutputStream
from sluiceway.client.local.part_claim import remove_published
from sluiceway.client.local.part_file import PartialFile
from sluiceway.errors import BadRequest, Exists, StoreFailed
from sluiceway.wire.headers.disposition import parse_disposition
from sluiceway.wire.names import clean_name

__all__ = ["Sink", "open_in_folder", "open_target", "served_name"]

Sink = PartialFile | OutputStream


def open_target(target: str, name: str | None, force: bool, url: str) -> Sink | None:
    """Return the sink; None for a folder whose file has no name yet. Raises Exists, StoreFailed."""
    if target == "-" or _is_special(target):
        return OutputStream(target)
    if os.path.isdir(target):
        return None if name is None else open_in_folder(target, name, force, url)
    if target.endswith(("/", os.sep)):
        raise StoreFailed(f"There is no folder {target}; make it first")
    return _open_part(target, force, url)


def open_in_folder(folder: str, name: str, force: bool, url: str) -> PartialFile:
    """Open the file of that name, cleaned, in that folder and nowhere else."""
    return _open_part(os.path.join(folder, clean_name(name)), force, url)


def served_name(head: Head, url: str) -> str:
    """Return the server's name for the file, as sent, not cleaned.

    It is Content-Disposition's name, else the last segment of the URL asked for.
    """
    try:
        name = parse_disposition(head.headers["content-disposition"]).filename
    except (KeyError, BadRequest):
        name = None  # there is none, or it cannot be read: the URL's name is good enough
    return name or unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])


def _open_part(target: str, force: bool, url: str) -> PartialFile:
    if os.path.lexists(target) and not force:
        folder, name = os.path.split(target)
        with suppress(OSError), Folder(folder) as opened:
            remove_published(opened, name)
        raise Exists(f"{target} is there already; use --force to replace it").for_operator()
    return PartialFile(target, url)


def _is_special(target: str) -> bool:
    """Whether the target is a device, pipe or socket that exists: a file must not replace it."""
    try:
        mode = os.stat(target).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
