"""Where a download goes: a path, a folder with a name from the server, or something that flows on.

Blocking calls, for a thread. A name from a server never leads out of the chosen folder.
"""

from __future__ import annotations

import os
import stat
from urllib.parse import unquote, urlsplit

from sluiceway.client.http.exchange import Head
from sluiceway.client.local.output_stream import OutputStream
from sluiceway.client.local.part_file import PartialFile
from sluiceway.errors import BadRequest, Exists, StoreFailed
from sluiceway.wire.headers.disposition import parse_disposition
from sluiceway.wire.names import clean_name

__all__ = ["Sink", "name_told", "open_in_folder", "open_target"]

Sink = PartialFile | OutputStream


def open_target(target: str, name: str | None, force: bool, url: str) -> Sink | None:
    """The sink, or None for a folder whose file has no name yet. Raises Exists, StoreFailed."""
    if target == "-" or _flows_on(target):
        return OutputStream(target)
    if os.path.isdir(target):
        return None if name is None else open_in_folder(target, name, force, url)
    if target.endswith(("/", os.sep)):
        raise StoreFailed(f"There is no folder {target}; make it first")
    return _open_part(target, force, url)


def open_in_folder(folder: str, name: str, force: bool, url: str) -> PartialFile:
    """The file of that name, cleaned, in that folder and nowhere else."""
    return _open_part(os.path.join(folder, clean_name(name)), force, url)


def name_told(head: Head, url: str) -> str:
    """What the server calls the file, as sent: Content-Disposition's name, else the last segment of the URL asked for."""
    try:
        told = parse_disposition(head.headers["content-disposition"]).filename
    except (KeyError, BadRequest):
        told = None  # none, or none that can be read: the URL's will do
    return told or unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])


def _open_part(target: str, force: bool, url: str) -> PartialFile:
    if os.path.lexists(target) and not force:
        raise Exists(f"{target} is there already; use --force to replace it")
    return PartialFile(target, url)


def _flows_on(target: str) -> bool:
    """Whether the target is there and is a device, pipe or socket: something a file must not replace."""
    try:
        mode = os.stat(target).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
