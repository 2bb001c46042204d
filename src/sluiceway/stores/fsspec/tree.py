"""The folder of a place and what is done in it, file by file: look, list, move, delete, note.

    ROOT/KEY                      finished objects
    ROOT/.sluiceway/drafts/ID     objects that are not visible yet
    ROOT/.sluiceway/about/HASH    what is known of an object
    ROOT/.sluiceway/clock         written to learn the time there

Blocking calls, on the file system object they are given. No path made of a key leads out of the
root. Nothing is expanded as a pattern: fsspec's `rm` and `copy` do that, `rm_file` and `cp_file` do
not.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sluiceway.errors import BadName, Exists, Forbidden, NotFound, StoreFailed
from sluiceway.stores.contract import Metadata, Omitted
from sluiceway.stores.fsspec.config import FsspecUrl
from sluiceway.stores.fsspec.metadata import (
    Note,
    delete_notes,
    note_path,
    read_notes,
    write_notes,
)
from sluiceway.stores.fsspec.versions import Version, is_link, version_of
from sluiceway.wire.names import readable_name, stays_inside

__all__ = ["FsspecTree"]

OWN_FOLDER = ".sluiceway"
# Times that a folder may be removed, because it became empty, between our look and our move.
MOVE_ATTEMPTS = 20
# Protocols whose implementations take a path letter by letter.
LITERAL_PATHS = {"file", "ftp", "hdfs", "local", "memory", "sftp", "smb", "ssh"}
# The other protocols make a URL of a path: %2e%2e would lead out of the root.
URL_SYNTAX = frozenset("%?#;")
# Protocols whose rmdir does nothing to a folder that is not empty.
RMDIR_IS_SAFE = {"file", "ftp", "local", "memory", "sftp", "smb", "ssh"}


class FsspecTree:
    """Paths below a root, as the protocol writes them."""

    def __init__(self, url: FsspecUrl) -> None:
        root = url.path
        if root:
            self._prefix = root.rstrip("/") + "/"
        else:
            self._prefix = "./" if url.is_sftp else "/"  # the account's own folder
        self._can_move = url.can_move
        literal = url.protocol in LITERAL_PATHS
        self._refused = frozenset("\\") if literal else URL_SYNTAX | {"\\"}
        self._prunes = url.protocol in RMDIR_IS_SAFE
        self.drafts: str = f"{self._prefix}{OWN_FOLDER}/drafts"
        self._notes: str = f"{self._prefix}{OWN_FOLDER}/about"

    def path(self, key: str) -> str:
        """Raises BadName for a key that leads out of the root or into our folder."""
        if not self.is_key(key):
            raise BadName(f"There can be no object {key!r} at this destination")
        return self._prefix + key

    def is_key(self, key: str) -> bool:
        """Whether an object can have this key.

        Another store may have its root below this one: its unfinished uploads are not objects.
        """
        return (
            stays_inside(key) and OWN_FOLDER not in key.split("/") and self._refused.isdisjoint(key)
        )

    def prepare(self, fs: Any) -> None:
        """Make our folders that are missing. Raises Exists where a file is in the way."""
        for folder in (f"{self._prefix}{OWN_FOLDER}", self.drafts, self._notes):
            self._make_folder(fs, folder)
            self._refuse_link(self._info(fs, folder) or {}, folder)

    def version_at(self, fs: Any, path: str) -> Version | None:
        """The version of the file there, None for none. Raises Exists for anything but a file."""
        found = self._info(fs, path)
        if found is None:
            return None
        self._refuse_link(found, path)
        version = version_of(found)
        if version is None:
            raise Exists(
                f"{path.rpartition('/')[2]!r} is a folder or another thing that is not a file; "
                "it was not touched"
            )
        return version

    def object_version(self, fs: Any, key: str) -> Version | None:
        """The version of an object. Looks for links among its folders first."""
        self.refuse_links(fs, key)
        return self.version_at(fs, self.path(key))

    def refuse_links(self, fs: Any, key: str) -> None:
        """Raises Forbidden where a folder of the key's path is a link. Looks from the top down."""
        folders = self.path(key.rstrip("/"))[len(self._prefix) :].split("/")
        folders = folders if key.endswith("/") else folders[:-1]
        for depth in range(1, len(folders) + 1):
            found = self._info(fs, self._prefix + "/".join(folders[:depth]))
            if found is None or found.get("type") == "file":
                return
            self._refuse_link(found, folders[depth - 1])

    def list_folder(self, fs: Any, key: str) -> list[tuple[str, Version | Omitted | None]]:
        """What is in the folder of a key that ends in `/`, or "" for the root, in order of keys.

        Names of folders end in `/` and come with None.
        """
        folder = self.path(key[:-1]) if key else self._prefix.rstrip("/") or "/"
        found = list[tuple[str, Version | Omitted | None]]()
        _forget_cached(fs, folder)
        try:
            listing = fs.ls(folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError:
            raise Forbidden("The account has no right to read this folder") from None
        for info in listing:
            name = str(info["name"]).rstrip("/").rpartition("/")[2]
            is_self = str(info["name"]).strip("/") == folder.strip("/")
            if is_self or (key == "" and name == OWN_FOLDER):
                continue
            if (omitted := self._omitted(key + name, info)) is not None:
                found.append((name, omitted))
            elif info.get("type") == "directory":
                found.append((name + "/", None))
            else:
                found.append((name, version_of(info)))
        return sorted(found, key=lambda one: one[0])

    def metadata(self, fs: Any, key: str, version: Version) -> Metadata:
        """What is known of this version of an object."""
        for note in read_notes(fs, self._notes, key):
            if note.etag == version.etag:
                return note.metadata
        return Metadata(filename="")

    def publish(
        self,
        fs: Any,
        draft: str,
        key: str,
        version: Version,
        metadata: Metadata,
        old: Version | None,
    ) -> Version:
        """Move a finished draft to its key, in the place of `old`, and write its note.

        Returns the version it has there.
        """
        self.refuse_links(fs, key)  # once more: the upload may have taken hours
        path, kept = self.path(key), []
        if old is not None:
            kept = [note for note in read_notes(fs, self._notes, key) if note.etag == old.etag]
            kept = kept or [Note(old.etag, Metadata(filename=""))]
        self._write_note(fs, draft, key, [Note(version.etag, metadata), *kept])
        try:
            found = self._move_to_key(fs, draft, path, version, old)
        except BaseException:
            if old is None:
                with suppress(Exception):  # the first error is the one that counts
                    delete_notes(fs, self._notes, key)
            raise
        if found.etag != version.etag:  # some protocols change a file's time when they move it
            self._write_note(fs, draft, key, [Note(found.etag, metadata)])
        return found

    def remove(self, fs: Any, key: str) -> None:
        """Delete the file, its note, and folders that became empty."""
        self.refuse_links(fs, key)
        path = self.path(key)
        with suppress(FileNotFoundError):
            fs.rm_file(path)
        delete_notes(fs, self._notes, key)
        self._prune(fs, key)

    def rename(self, fs: Any, key: str, new_key: str, metadata: Metadata) -> Version:
        """Move a file to a free key, with its note. Returns the version it has there."""
        for one in (key, new_key):
            self.refuse_links(fs, one)
        version = self.version_at(fs, self.path(key))
        if version is None:
            raise NotFound(f"There is no object {key!r}")
        temporary = f"{self.drafts}/rename-{uuid.uuid4().hex}"
        self._write_note(fs, temporary, new_key, [Note(version.etag, metadata)])
        try:
            found = self._move_to_key(fs, self.path(key), self.path(new_key), version, None)
        except BaseException:
            with suppress(Exception):  # the first error is the one that counts
                delete_notes(fs, self._notes, new_key)
            raise
        if found.etag != version.etag:
            self._write_note(fs, temporary, new_key, [Note(found.etag, metadata)])
        delete_notes(fs, self._notes, key)
        self._prune(fs, key)
        return found

    def clock(self, fs: Any) -> float | None:
        """The server's time, from a file that is written now. None where files have no time."""
        path = f"{self._prefix}{OWN_FOLDER}/clock"
        with fs.open(path, "wb") as file:
            file.write(b"now")
        version = self.version_at(fs, path)
        return None if version is None else version.modified

    def draft_files(self, fs: Any) -> list[tuple[str, float | None]]:
        """The names of the files among the drafts, and when each was last written to."""
        _forget_cached(fs, self.drafts)
        found = [
            (str(info["name"]).rpartition("/")[2], version_of(info))
            for info in fs.ls(self.drafts, detail=True)
        ]
        return [(name, version.modified) for name, version in found if version is not None]

    def drop_draft(self, fs: Any, name: str) -> None:
        """Delete a file among the drafts, if it is there."""
        with suppress(FileNotFoundError):
            fs.rm_file(f"{self.drafts}/{name}")

    def _make_folder(self, fs: Any, folder: str) -> None:
        """Make a folder and those above it."""
        if folder.rstrip("/") in ("", "."):
            return
        found = self._info(fs, folder)
        if found is None:
            self._make_folder(fs, folder.rpartition("/")[0])
            try:
                fs.mkdir(folder, create_parents=False)
            except FileExistsError:
                pass  # another client made it meanwhile
            except OSError:
                # Not every protocol has an error of its own for that.
                if self._info(fs, folder) is None:
                    raise
        elif found.get("type") == "file":
            raise Exists(
                f"{folder.rpartition('/')[2]!r} is a file, so nothing can be stored below it"
            )

    def _refuse_link(self, found: Mapping[str, Any], path: str) -> None:
        if is_link(found):
            raise Forbidden(
                f"{path.rpartition('/')[2]!r} is a symbolic link; "
                "it is never followed, written through nor replaced"
            )

    def _omitted(self, key: str, info: Mapping[str, Any]) -> Omitted | None:
        """Why a name in a listing is not an entry; None when it is one."""
        name = readable_name(key)
        if key.rpartition("/")[2] == OWN_FOLDER:
            return Omitted(
                name,
                "own-file",
                "It is where another store below this one keeps what is not an object",
            )
        if is_link(info):
            return Omitted(
                name,
                "link",
                "It is a symbolic link; its target may be outside, and would be listed twice",
            )
        if info.get("type") not in ("file", "directory"):
            return Omitted(name, "special-file", "It is a pipe, a socket or a device, not a file")
        if not self.is_key(key):
            return Omitted(
                name,
                "bad-name",
                "Its name is not UTF-8, or cannot be a key at this destination",
            )
        return None

    def _write_note(self, fs: Any, draft: str, key: str, notes: Sequence[Note]) -> None:
        """Through a temporary file, so that no reader meets half a note."""
        temporary, path = f"{draft}.about", note_path(self._notes, key)
        for attempt in range(2):
            try:
                write_notes(fs, temporary, key, notes)
                self._rename(fs, temporary, path)
                return
            except FileNotFoundError:
                if attempt:
                    raise
                self.prepare(fs)
            except OSError:  # this protocol does not move a file over another one
                delete_notes(fs, self._notes, key)
                self._rename(fs, temporary, path)
                return

    def _move_to_key(
        self, fs: Any, draft: str, path: str, version: Version, old: Version | None
    ) -> Version:
        for attempt in range(MOVE_ATTEMPTS):
            try:  # another client that empties the folder now removes it before either step
                self._make_folder(fs, path.rpartition("/")[0])
                self._rename(fs, draft, path)
                break
            except FileNotFoundError:
                if attempt == MOVE_ATTEMPTS - 1:
                    raise
            except OSError:
                if old is None or self._info(fs, draft) is None:
                    raise
                self._move_after_delete(fs, draft, path)
                break
        # Some servers report no error when they did nothing.
        if self._can_move and self._info(fs, draft) is not None:
            if old is None:
                raise StoreFailed(
                    "The destination did not move the finished file to its name; nothing was stored"
                )
            self._move_after_delete(fs, draft, path)
        found = self.version_at(fs, path)
        # With another size it was replaced since by another client, and ours was there.
        return found if found is not None and found.size == version.size else version

    def _move_after_delete(self, fs: Any, draft: str, path: str) -> None:
        """For protocols that do not move over a file: for a moment readers find nothing."""
        fs.rm_file(path)
        self._rename(fs, draft, path)

    def _rename(self, fs: Any, old: str, new: str) -> None:
        if not self._can_move:
            fs.cp_file(old, new)
            with suppress(Exception):  # the copy is there; a sweep removes the draft
                fs.rm_file(old)
            return
        try:
            if _has_webdav_move(fs):
                fs.client.move(old, new, overwrite=True)
            else:
                fs.mv(old, new)
        except (FileExistsError, FileNotFoundError, PermissionError):
            raise
        except OSError:
            plain = getattr(getattr(fs, "ftp", None), "rename", None)
            if plain is None:
                raise
            # A server without posix-rename@openssh.com; this rename replaces nothing.
            plain(old, new)

    def _prune(self, fs: Any, key: str) -> None:
        """Remove folders that became empty, innermost first."""
        folders = key.split("/")[:-1]
        while folders and self._prunes:
            try:
                fs.rmdir(self.path("/".join(folders)))
            except FileNotFoundError:
                pass
            except Exception:  # not empty: each protocol has another error for it
                return
            folders.pop()

    def _info(self, fs: Any, path: str) -> dict[str, Any] | None:
        """None where nothing is, also below a file."""
        folder = path.rpartition("/")[0]
        _forget_cached(fs, folder)
        try:
            found: dict[str, Any] = fs.info(path)
            return found
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno is None and self._is_below_file(fs, folder):
                return None
            raise

    def _is_below_file(self, fs: Any, folder: str) -> bool:
        while folder.strip("/."):
            try:
                return bool(fs.info(folder).get("type") == "file")
            except OSError:  # deeper than the file
                folder = folder.rpartition("/")[0]
        return False


def _forget_cached(fs: Any, folder: str) -> None:
    """Some implementations answer from what they listed before."""
    fs.invalidate_cache(folder)


def _has_webdav_move(fs: Any) -> bool:
    """WebDAV moves in one step; its `mv` for fsspec copies and deletes."""
    return "webdav" in fs.protocol and hasattr(fs, "client")
