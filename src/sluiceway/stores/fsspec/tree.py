"""The folder of a place and what is done in it, file by file: look, list, make folders, move, take away, note.

    ROOT/KEY                      finished objects
    ROOT/.sluiceway/drafts/ID     objects nobody can see yet
    ROOT/.sluiceway/about/HASH    what is known of an object
    ROOT/.sluiceway/clock         written to learn the time there

Blocking calls only, on the file system object they are given. No path is made of a key that could lead out of the root, and
nothing is ever expanded as a pattern: `rm` and `copy` of fsspec do that, `rm_file` and `cp_file` do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sluiceway.errors import BadName, Exists, Forbidden, StoreFailed
from sluiceway.stores.contract import Metadata, Omitted
from sluiceway.stores.fsspec.errors import Version, forget_cached, has_move, is_link, version_of
from sluiceway.stores.fsspec.metadata import Note, drop_notes, note_path, read_notes, write_notes
from sluiceway.wire.names import readable_name, stays_inside

__all__ = ["Tree"]

PRIVATE = ".sluiceway"
TRIES = 20  # times a folder may be removed, because it became empty, between our finding and our using it
PLAIN = {
    "file",
    "ftp",
    "hdfs",
    "local",
    "memory",
    "sftp",
    "smb",
    "ssh",
}  # whose implementations take a path letter by letter
IN_URLS = frozenset(
    "%?#;"
)  # what means something else to those that make a URL of it: %2e%2e would lead out of the root
EMPTY_ONLY = {
    "file",
    "ftp",
    "local",
    "memory",
    "sftp",
    "smb",
    "ssh",
}  # whose rmdir leaves a folder that is not empty alone


class Tree:
    """Paths below a root, as the protocol writes them."""

    def __init__(self, root: str, protocol: str, kind: type[Any]) -> None:
        self._prefix = (
            root.rstrip("/") + "/" if root else "./" if protocol in ("sftp", "ssh") else "/"
        )  # none: the account's own
        self._moves = has_move(kind)
        self._refused = frozenset("\\") if protocol in PLAIN else IN_URLS | {"\\"}
        self._prunes = protocol in EMPTY_ONLY
        self.drafts: str = f"{self._prefix}{PRIVATE}/drafts"
        self.metadata: str = f"{self._prefix}{PRIVATE}/about"

    def path(self, key: str) -> str:
        """Raises BadName for a key that leads out of the root or into our folder."""
        if not self.may_be(key):
            raise BadName(f"There can be no object {key!r} at this destination")
        return self._prefix + key

    def may_be(self, key: str) -> bool:
        """Whether there can be such a key here. Another store may stand below this one: its unfinished uploads are no objects."""
        return stays_inside(key) and PRIVATE not in key.split("/") and self._refused.isdisjoint(key)

    def folder(self, key: str) -> str:
        """Of a key that ends in `/`, or "" for the root. Raises BadName."""
        return self.path(key[:-1]) if key else self._prefix.rstrip("/") or "/"

    def prepare(self, fs: Any) -> None:
        """Make our folders where they are missing. Raises Exists where a file is in the way."""
        for folder in (f"{self._prefix}{PRIVATE}", self.drafts, self.metadata):
            self.make(fs, folder)
            self._refuse_link(self._info(fs, folder) or {}, folder)

    def make(self, fs: Any, folder: str) -> None:
        """A folder and those above it."""
        if folder.rstrip("/") in ("", "."):
            return
        found = self._info(fs, folder)
        if found is None:
            self.make(fs, folder.rpartition("/")[0])
            try:
                fs.mkdir(folder, create_parents=False)
            except FileExistsError:
                pass  # somebody else made it meanwhile
            except OSError:
                if (
                    self._info(fs, folder) is None
                ):  # that, in the words of a protocol that has none for it
                    raise
        elif found.get("type") == "file":
            raise Exists(
                f"{folder.rpartition('/')[2]!r} is a file, so nothing can be stored below it"
            )

    def look(self, fs: Any, path: str) -> Version | None:
        """The version of the file there, None where nothing is. Raises Exists for what is no file."""
        found = self._info(fs, path)
        if found is None:
            return None
        self._refuse_link(found, path)
        version = version_of(found)
        if version is None:
            raise Exists(
                f"{path.rpartition('/')[2]!r} is a folder or something else that is no file; it was not touched"
            )
        return version

    def seen(self, fs: Any, key: str) -> Version | None:
        """The version of an object, its folders looked at first."""
        self.guard(fs, key)
        return self.look(fs, self.path(key))

    def guard(self, fs: Any, key: str) -> None:
        """Look at every folder of a key's path, from the top down. Raises Forbidden where one is a link: none is followed."""
        folders = self.path(key.rstrip("/"))[len(self._prefix) :].split("/")
        folders = folders if key.endswith("/") else folders[:-1]
        for depth in range(1, len(folders) + 1):
            found = self._info(fs, self._prefix + "/".join(folders[:depth]))
            if found is None or found.get("type") == "file":
                return
            self._refuse_link(found, folders[depth - 1])

    def _refuse_link(self, found: Mapping[str, Any], path: str) -> None:
        if is_link(found):
            raise Forbidden(
                f"{path.rpartition('/')[2]!r} is a symbolic link; it is never followed, written through nor replaced"
            )

    def names(self, fs: Any, key: str) -> list[tuple[str, Version | Omitted | None]]:
        """What is in a folder (of a key that ends in `/`, or ""), in the order of keys: folders end in `/`, without version."""
        folder, found = self.folder(key), list[tuple[str, Version | Omitted | None]]()
        forget_cached(fs, folder)
        try:
            told = fs.ls(folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError:
            raise Forbidden("The account has no right to read this folder") from None
        for info in told:
            name = str(info["name"]).rstrip("/").rpartition("/")[2]
            if str(info["name"]).strip("/") == folder.strip("/") or (key == "" and name == PRIVATE):
                continue
            why, is_folder = self._omitted(key + name, info), info.get("type") == "directory"
            version = None if why is not None or is_folder else version_of(info)
            found.append((name + "/" if is_folder and why is None else name, why or version))
        return sorted(found, key=lambda one: one[0])

    def _omitted(self, key: str, info: Mapping[str, Any]) -> Omitted | None:
        name = readable_name(key)
        if key.rpartition("/")[2] == PRIVATE:
            return Omitted(
                name,
                "own-file",
                "It is the folder in which another store below this one keeps what is no object",
            )
        if is_link(info):
            return Omitted(
                name,
                "link",
                "It is a symbolic link; what it shows may stand outside, and would come twice",
            )
        if info.get("type") not in ("file", "directory"):
            return Omitted(name, "special-file", "It is no file, but a pipe, a socket or a device")
        if not self.may_be(key):
            return Omitted(
                name,
                "bad-name",
                "Its name is no UTF-8, or holds what cannot be asked for at this destination",
            )
        return None

    def place(
        self,
        fs: Any,
        draft: str,
        key: str,
        version: Version,
        metadata: Metadata,
        old: Version | None,
    ) -> Version:
        """Let a finished draft appear under its key, with a note; in the place of `old`. The version it has there."""
        self.guard(fs, key)  # once more: the upload may have taken hours
        path, kept = self.path(key), []
        if old is not None:
            kept = [
                note for note in read_notes(fs, self.metadata, key) if note.etag == old.etag
            ] or [Note(old.etag, Metadata(filename=""))]
        self._note(fs, draft, key, [Note(version.etag, metadata), *kept])
        try:
            found = self._move(fs, draft, path, version, old)
        except BaseException:
            if old is None:
                with suppress(Exception):  # the first error is the one that counts
                    drop_notes(fs, self.metadata, key)
            raise
        if (
            found.etag != version.etag
        ):  # a protocol whose files change their time when they are moved
            self._note(fs, draft, key, [Note(found.etag, metadata)])
        return found

    def known(self, fs: Any, key: str) -> list[Note]:
        return read_notes(fs, self.metadata, key)

    def remove(self, fs: Any, key: str) -> None:
        """The file, its note, and folders that became empty."""
        self.guard(fs, key)
        path = self.path(key)
        with suppress(FileNotFoundError):
            fs.rm_file(path)
        drop_notes(fs, self.metadata, key)
        self._prune(fs, key)

    def clock(self, fs: Any) -> float | None:
        """The time on the other side, which a file tells that is written now. None where files tell no time."""
        path = f"{self._prefix}{PRIVATE}/clock"
        with fs.open(path, "wb") as file:
            file.write(b"now")
        version = self.look(fs, path)
        return None if version is None else version.modified

    def left(self, fs: Any) -> list[tuple[str, float | None]]:
        """The files among the drafts, and when each was written to last."""
        forget_cached(fs, self.drafts)
        found = [
            (str(info["name"]).rpartition("/")[2], version_of(info))
            for info in fs.ls(self.drafts, detail=True)
        ]
        return [(name, version.modified) for name, version in found if version is not None]

    def drop(self, fs: Any, path: str) -> None:
        """A draft, when there is one."""
        with suppress(FileNotFoundError):
            fs.rm_file(path)

    def _note(self, fs: Any, draft: str, key: str, notes: Sequence[Note]) -> None:
        """By way of a temporary file, so that nobody reads half a note."""
        temporary, path = f"{draft}.about", note_path(self.metadata, key)
        for attempt in range(2):
            try:
                write_notes(fs, temporary, key, notes)
                self._rename(fs, temporary, path)
                return
            except FileNotFoundError:
                if attempt:
                    raise
                self.prepare(fs)
            except OSError:  # a protocol that moves nothing over what is there
                drop_notes(fs, self.metadata, key)
                self._rename(fs, temporary, path)
                return

    def _move(
        self, fs: Any, draft: str, path: str, version: Version, old: Version | None
    ) -> Version:
        for attempt in range(TRIES):
            try:  # a folder that somebody empties at this moment goes at either step
                self.make(fs, path.rpartition("/")[0])
                self._rename(fs, draft, path)
                break
            except FileNotFoundError:
                if attempt == TRIES - 1:
                    raise
            except OSError:
                if old is None or self._info(fs, draft) is None:
                    raise
                self._make_way(fs, draft, path)
                break
        if (
            self._moves and self._info(fs, draft) is not None
        ):  # some say nothing when they did nothing
            if old is None:
                raise StoreFailed(
                    "The destination did not move the finished file to its name; nothing was stored"
                )
            self._make_way(fs, draft, path)
        found = self.look(fs, path)
        # Of another size: somebody else has replaced it since, and ours was there.
        return found if found is not None and found.size == version.size else version

    def _make_way(self, fs: Any, draft: str, path: str) -> None:
        """For protocols that move nothing over what is there: readers find nothing for a moment."""
        fs.rm_file(path)
        self._rename(fs, draft, path)

    def _rename(self, fs: Any, old: str, new: str) -> None:
        if not self._moves:
            fs.cp_file(old, new)
            with suppress(Exception):  # it is there; the draft goes with the next sweep
                fs.rm_file(old)
            return
        try:
            if _moves_itself(fs):
                fs.client.move(old, new, overwrite=True)
            else:
                fs.mv(old, new)
        except (FileExistsError, FileNotFoundError, PermissionError):
            raise
        except OSError:
            plain = getattr(getattr(fs, "ftp", None), "rename", None)
            if plain is None:
                raise
            plain(old, new)  # a server without posix-rename@openssh.com; this one replaces nothing

    def _prune(self, fs: Any, key: str) -> None:
        """Remove folders that became empty, innermost first."""
        folders = key.split("/")[:-1]
        while folders and self._prunes:
            try:
                fs.rmdir(self.path("/".join(folders)))
            except FileNotFoundError:
                pass
            except Exception:  # not empty: each protocol has another word for it
                return
            folders.pop()

    def _info(self, fs: Any, path: str) -> dict[str, Any] | None:
        """None where nothing is, also below what is a file."""
        folder = path.rpartition("/")[0]
        forget_cached(fs, folder)
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


def _moves_itself(fs: Any) -> bool:
    """WebDAV: the protocol moves in one step, its `mv` for fsspec copies and deletes."""
    return "webdav" in fs.protocol and hasattr(fs, "client")
