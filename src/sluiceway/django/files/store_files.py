"""The files of a storage in a store that is not a folder: a bucket, a database, what fsspec knows.

Each call asks the store; nothing is cached. Knows no drafts of forms.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any, NoReturn, Self
from urllib.parse import urljoin

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.utils.encoding import filepath_to_uri

from sluiceway.django.files.stored_bytes import StoredBytes, WrittenBytes
from sluiceway.django.open_stores import OpenStore
from sluiceway.errors import BadName, NotFound, SluiceError, Unsupported
from sluiceway.stores.contract import Entry, Metadata, SignedUrls
from sluiceway.stores.unpublished import KeyFirst
from sluiceway.wire.headers.media_types import guess_type
from sluiceway.wire.names import check_key, clean_name

__all__ = ["StoreFiles"]

PAGE = 1000  # entries of a listing at once
LAST = "\U0010ffff"  # sorts behind all names of a folder


class _BadFileName(BadName, SuspiciousFileOperation): ...


class _StoreFile(File):  # type: ignore[type-arg]  # only type checkers know its argument
    """A file of a store, which opens again as Django's own files do after they were closed.

    `ImageField` closes a file when it has read its dimensions.
    """

    def __init__(self, opener: Callable[[str, str], IO[Any]], name: str, mode: str) -> None:
        super().__init__(opener(name, mode), name)
        self._opener, self._path, self._mode = opener, name, mode

    def open(self, mode: str | None = None, *args: Any, **kwargs: Any) -> Self:
        if self.closed:
            self.file = self._opener(self._path, mode or self._mode)
        else:
            self.seek(0)
        return self


class StoreFiles:
    """Args as those of `Storage`; `opened` gives the store of this process."""

    def __init__(
        self, opened: Callable[[], OpenStore], base_url: str | None, url_expires: float
    ) -> None:
        self._opened = opened
        self.base_url: str | None = base_url
        self._expires = url_expires

    def open_file(self, name: str, mode: str) -> File[Any]:
        """Raises FileNotFoundError, and Unsupported for a mode that no store can have."""
        return _StoreFile(self._open_stream, name, mode)

    def _open_stream(self, name: str, mode: str) -> IO[Any]:
        kind = mode.replace("b", "").replace("t", "")
        if kind == "r":
            raw: io.RawIOBase = StoredBytes(self._opened(), self._read_key(name), name)
            binary: Any = io.BufferedReader(raw)
        elif kind == "w":
            binary = io.BufferedWriter(WrittenBytes(self._opened(), self.key(name), name))
        else:
            raise Unsupported(f"A file of this storage cannot be opened with mode {mode!r}")
        return binary if "b" in mode else io.TextIOWrapper(binary)

    def key(self, name: str) -> str:
        """The key of the object with this name. Raises SuspiciousFileOperation."""
        try:
            store = self._opened().store
            return check_key(posixpath.normpath(name), store.traits.max_key_bytes)
        except BadName as error:
            raise _BadFileName(error.detail, **error.members) from None

    def valid_name(self, name: str) -> str:
        """A name that every store takes, from one that Django finds valid."""
        try:
            return check_key(name)
        except BadName:
            return clean_name(name)

    def is_claimed(self, name: str) -> bool:
        opened = self._opened()
        store: object = opened.store
        if not (opened.store.traits.key_first and isinstance(store, KeyFirst)):
            return False
        return opened.run(store.is_claimed(self.key(name)))

    def before_publish(self, name: str) -> None:
        """Stores make their folders themselves."""

    def after_publish(self, name: str) -> str:
        return posixpath.normpath(name)

    def save_otherwise(self, name: str, content: Any, error: SluiceError) -> NoReturn:
        raise error

    def path(self, name: str) -> str:
        raise NotImplementedError("This backend doesn't support absolute paths.")

    def exists(self, name: str) -> bool:
        try:
            self._stat(name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        return self._stat(name).size

    def delete(self, name: str) -> None:
        """Does nothing when there is no such file, as Django's own."""
        if not name:
            raise _BadFileName("The name must be given to delete().")
        opened = self._opened()
        try:
            opened.run(opened.store.delete(self.key(name)))
        except NotFound:
            pass

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Folders and files directly below `path`.

        A folder is skipped with one request, however many files it has. Raises FileNotFoundError
        where nothing is below the path.
        """
        opened = self._opened()
        prefix = "" if posixpath.normpath(path or ".") == "." else f"{self.key(path)}/"
        folders, files, after = list[str](), list[str](), ""
        while True:
            page = opened.run(opened.store.list(prefix, after, PAGE))
            folder = ""
            for entry in page.entries:
                name, slash, _ = entry.key.removeprefix(prefix).partition("/")
                if not slash:
                    files.append(name)
                elif folder != name:
                    folders.append(folder := name)
            if page.next is None:
                break
            inside = folder and page.next.startswith(f"{prefix}{folder}/")
            after = f"{prefix}{folder}/{LAST}" if inside else page.next
        if prefix and not folders and not files:
            raise FileNotFoundError(f"There is nothing below {path!r}")
        return list(dict.fromkeys(folders)), files

    def url(self, name: str | None) -> str:
        """A signed URL of the bucket, or one below `base_url` or MEDIA_URL."""
        opened, store = self._opened(), self._opened().store
        if self.base_url is None and isinstance(store, SignedUrls) and name:
            key = self.key(name)
            entry = Entry(key, 0, "", 0.0, Metadata("", guess_type(key)))
            return opened.run(store.signed_url(entry, self._expires, "inline"))
        base = settings.MEDIA_URL if self.base_url is None else self.base_url
        # Django's stubs have None for a name that is None
        quoted: Any = filepath_to_uri(name)
        return str(urljoin(base.rstrip("/") + "/", (quoted or "").lstrip("/")))

    def get_accessed_time(self, name: str) -> datetime:
        """No store notes when a file was read."""
        raise NotImplementedError("This storage does not know when a file was read.")

    def get_created_time(self, name: str) -> datetime:
        """A file is written once: the time when it appeared."""
        return self.get_modified_time(name)

    def get_modified_time(self, name: str) -> datetime:
        modified = self._stat(name).modified
        return datetime.fromtimestamp(modified, UTC if settings.USE_TZ else None)

    def _stat(self, name: str) -> Entry:
        opened = self._opened()
        try:
            return opened.run(opened.store.stat(self._read_key(name)))
        except NotFound:
            raise FileNotFoundError(f"There is no file {name!r}") from None

    def _read_key(self, name: str) -> str:
        """Of a file that may be there. Raises FileNotFoundError for a name that none can have."""
        try:
            return self.key(name)
        except BadName:
            raise FileNotFoundError(f"There is no file {name!r}") from None
