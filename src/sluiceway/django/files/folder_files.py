"""The files of a storage in a folder: Django's FileSystemStorage reads, lists and deletes them.

Only writing differs: a file becomes visible when it is whole and durable. Knows no drafts.
"""

from __future__ import annotations

import os
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage

from sluiceway.errors import BadName, SluiceError
from sluiceway.wire.names import check_key

__all__ = ["FolderFiles"]

OWN_FOLDER = ".sluiceway"  # drafts, and locks of processes


class _OwnFolder(BadName, SuspiciousFileOperation): ...


class FolderFiles(FileSystemStorage):
    """The arguments are Django's."""

    def path(self, name: str) -> str:
        """Django's own. Raises SuspiciousFileOperation for what is not a file of the site."""
        path: str = super().path(name)
        if OWN_FOLDER in os.path.relpath(path, self.location).split(os.sep):
            raise _OwnFolder(f"{OWN_FOLDER} has no files of the site").for_operator()
        return path

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        folders, files = super().listdir(path)
        return [name for name in folders if name != OWN_FOLDER], files

    def open_file(self, name: str, mode: str) -> File[Any]:
        return File(open(self.path(name), mode))

    def valid_name(self, name: str) -> str:
        return name

    def key(self, name: str) -> str:
        """The key of the object with this name. Raises BadName where the store takes no such."""
        key = os.path.relpath(self.path(name), self.location).replace("\\", "/")
        if check_key(key) != key:  # it would be stored under another spelling in Unicode
            raise BadName("The name is not in Unicode's composed form")
        return key

    def is_claimed(self, name: str) -> bool:
        return False

    def before_publish(self, name: str) -> None:
        """Make folders with the site's permissions; the store would give them the usual ones."""
        _make_folders(os.path.dirname(self.path(name)), self.directory_permissions_mode)

    def after_publish(self, name: str) -> str:
        """Give the file the site's permissions. Returns the name as Django spells it."""
        path = self.path(name)
        if self.file_permissions_mode is not None:
            os.chmod(path, self.file_permissions_mode)
        if (keep_group := getattr(self, "_ensure_location_group_id", None)) is not None:
            keep_group(path)
        return os.path.relpath(path, self.location).replace("\\", "/")

    def save_otherwise(self, name: str, content: Any, error: SluiceError) -> str:
        """As Django does, where the store refuses the name or a link on its way."""
        return str(getattr(super(), "_save")(name, content))  # noqa: B009 - not in the stubs


def _make_folders(folder: str, mode: int | None) -> None:
    """Raises FileExistsError where a file is in the way."""
    if os.path.isdir(folder):
        return
    _make_folders(os.path.dirname(folder), mode)
    try:
        os.mkdir(folder)
        if mode is not None:
            os.chmod(folder, mode)  # mkdir's own is narrowed by the umask
    except FileExistsError:
        if not os.path.isdir(folder):
            raise FileExistsError(f"{folder} exists and is not a directory.") from None
