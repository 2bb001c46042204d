"""The permissions of a newly made file: narrowed by the umask or by its folder's default ACL."""

from __future__ import annotations

import os
import struct

__all__ = ["process_umask", "usual_mode"]

# tags of an ACL's entries (linux/posix_acl.h)
_OWNER, _GROUP, _MASK, _OTHERS = (0x01, 0x04, 0x10, 0x20)


def process_umask() -> int:
    """The process's umask.

    On Linux it is read from /proc: the system call can only set it, and every thread would notice.
    """
    try:
        with open("/proc/self/status", "rb") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith(b"Umask:"))
    except (OSError, StopIteration):
        usual = os.umask(0o077)
        os.umask(usual)
        return usual


def usual_mode(folder: int, umask: int) -> int:
    """The permissions of a new file in `folder`: 0666 narrowed by the umask or a default ACL.

    With an ACL the umask does not count (acl(5)). It is a version, then entries of tag, rights, id.
    """
    try:
        acl = os.getxattr(folder, "system.posix_acl_default")
        rights = {tag: allowed for tag, allowed, _ in struct.iter_unpack("<HHI", acl[4:])}
        owner, group, others = rights[_OWNER], rights.get(_MASK, rights[_GROUP]), rights[_OTHERS]
    except (AttributeError, OSError, KeyError, struct.error):
        return 0o666 & ~umask
    return 0o666 & int(owner << 6 | group << 3 | others)
