"""Checks of this machine: the port, the descriptors, the clock, and folders with their room.

Nothing is left behind: a folder that is missing is not made, and a port is released at once.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from sluiceway.server.checks.finding import Finding, failed, passed, warned
from sluiceway.server.http1.connection_limit import SHARE
from sluiceway.server.settings.checked import Settings

__all__ = [
    "SKEW",
    "check_clock",
    "check_descriptors",
    "check_folder",
    "check_port",
    "check_room",
    "is_low",
]

FEW_DESCRIPTORS = 1024  # what most systems give; a server has half of them for connections
# Seconds by which two clocks may differ: S3 refuses requests beyond 15 minutes, links and webhooks
# are valid for minutes.
SKEW = 60.0
BUILT = 1767225600.0  # 2026-01-01: this version did not exist before
LITTLE = 1 << 30  # bytes of a disk that is nearly full
FEW_PERCENT = 5  # of a disk that is nearly full, where that is less


def check_port(settings: Settings) -> Finding:
    """Whether this address can be listened on."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    where = f"{settings.host} port {settings.port}"
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host, settings.port))
        except OSError as error:
            return failed("port", f"{where}: {error.strerror or error}", _cure_of_port(error))
    return passed("port", f"{where} is free")


def _cure_of_port(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            "stop the program that listens there, or give another --port. If that is the server "
            "which runs with these settings, all is well"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            "give a --port from 1024 on, or allow this one: "
            "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit of systemd"
        )
    return "give the address of this machine in --host, or 0.0.0.0 for all"


def check_descriptors() -> Finding:
    """Whether enough files and connections can be open at once."""
    if resource is None:
        return passed("descriptors", "this system has no limit of them")
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)  # a server raises its own to this
    if limit == resource.RLIM_INFINITY:
        return passed("descriptors", "as many as the system has")
    text = f"{limit} at most, {limit // SHARE} of them for connections"
    if limit < FEW_DESCRIPTORS:
        return warned("descriptors", text, "raise it: ulimit -Hn 65536, or LimitNOFILE=65536")
    return passed("descriptors", text)


def check_clock(skews: dict[str, float]) -> Iterator[Finding]:
    """`skews`: how far the clocks of destinations are ahead of ours, in seconds, by their names."""
    if time.time() < BUILT:
        yield failed(
            "clock",
            f"this machine says {time.strftime('%Y-%m-%d', time.gmtime())}",
            "set the clock: timedatectl set-ntp true",
        )
        return
    for name, skew in skews.items():
        ahead = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} that of {name}"
        if abs(skew) > SKEW:
            yield failed(
                "clock", f"this machine's is {ahead}", "set both by NTP: timedatectl set-ntp true"
            )
        else:
            yield passed("clock", f"this machine's agrees with that of {name}")
    if not skews:
        yield passed("clock", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def check_folder(check: str, folder: Path) -> Finding:
    """Whether this user can make files in a folder, which may be missing."""
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
    try:
        with tempfile.TemporaryFile(prefix=".sluiceway-check-", dir=there) as file:
            file.write(b"c")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        cure = {
            errno.ENOTDIR: "there is a file of that name; give a folder",
            errno.EROFS: "this file system is read-only; mount it for writing, or give a folder "
            "elsewhere",
            errno.ENOSPC: "the disk is full; delete something, or give a larger one",
            errno.EDQUOT: "the quota of this user is used up; raise it",
        }.get(
            error.errno or 0,
            f"give user {os.geteuid() if hasattr(os, 'geteuid') else ''} the right to write there: "
            f"chown it, or add {there} to ReadWritePaths= of the unit",
        )
        return failed(check, f"{there}: {error.strerror or error}", cure)
    if there != folder:
        return passed(check, f"{folder} will be made")
    owner = os.stat(folder).st_uid
    if hasattr(os, "geteuid") and os.geteuid() == 0 and owner != 0:
        return warned(
            check,
            f"{folder} belongs to user {owner}, and this is root, who may write anywhere",
            f"run it as the user of the server: sudo -u '#{owner}' sluiceway check …",
        )
    return passed(check, f"{folder} can be written")


def check_room(folder: Path, largest: int | None) -> Finding:
    """Whether the disk of a folder has room. `largest`: the largest upload, in bytes."""
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    try:
        usage = shutil.disk_usage(there)
        names = os.statvfs(there) if hasattr(os, "statvfs") else None
    except OSError as error:
        return failed("free space", f"{there}: {error.strerror or error}", "look at its disk")
    text = f"{folder}: {usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free"
    more = "delete something, enlarge the disk, or give a folder on another one"
    if names is not None and names.f_files and not names.f_favail:
        return failed("free space", f"{folder}: the disk can have no more files", more)
    if not usage.free:
        return failed("free space", text, more)
    if largest is not None and usage.free < largest:
        return warned("free space", f"{text}, less than --max-size", f"{more}; or lower --max-size")
    if is_low(usage.free, usage.total):
        return warned("free space", text, more)
    return passed("free space", text)


def is_low(free: int, total: int) -> bool:
    """Whether a disk is nearly full. Both in bytes."""
    return free < min(LITTLE, total * FEW_PERCENT // 100)
