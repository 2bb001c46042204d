"""Files that a publish replaced: each keeps a second name until the publish surely stands.

It takes no room, so a full disk can put it back, in one step. The names are those of drafts: a
sweep removes what a killed process left. Blocking calls, for a worker thread.

What replaced may be replaced itself before it is undone. Then what it kept is handed over: whoever
undoes last puts the first file back.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress

from sluiceway.errors import Exists, NotFound, Unavailable
from sluiceway.stores.disk.metadata import drop_note, keep_note, put_note_back
from sluiceway.stores.disk.tree import Tree

__all__ = ["KEPT", "ReplacedFiles"]

KEPT = ".kept"  # ends the name of a replaced file
_FREE = ".free"  # ends it when the undo of what it was says that the key is to be free

_libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
_renameat2 = getattr(_libc, "renameat2", None)  # Linux only
_EXCHANGE = 2  # RENAME_EXCHANGE


class ReplacedFiles:
    """`drafts` is the descriptor of their folder, `exclusive` the lock for replacing."""

    def __init__(
        self, tree: Tree, drafts: int, exclusive: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._tree, self._drafts, self._exclusive = tree, drafts, exclusive

    def replace(self, draft: tuple[int, str], there: tuple[int, str], key: str, aside: str) -> bool:
        """Give the draft the name of the file that is there, which is `aside` from now on.

        Under the lock. Folders are descriptors. Returns whether the file was kept: False on a file
        system that can do neither. Raises FileNotFoundError when nothing is there.
        """
        mode = os.stat(there[1], dir_fd=there[0], follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode):
            _rename(draft, there)  # the system says why not
            return False
        try:
            os.link(
                there[1], aside, src_dir_fd=there[0], dst_dir_fd=self._drafts, follow_symlinks=False
            )
        except FileNotFoundError:
            raise
        except OSError:  # no hard links here, too many, or the file is another user's
            if is_kept := _exchange(draft, there):
                _rename(draft, (self._drafts, aside))
            else:
                _rename(draft, there)
        else:
            is_kept = True
            try:
                _rename(draft, there)
            except OSError:
                self._drop(aside)
                raise
        if is_kept:
            keep_note(self._tree, key, self._drafts, _about(aside))
        return is_kept

    def put_back(self, key: str, ours: tuple[int, int], aside: str, was_there: bool) -> bool:
        """Undo a publish of the file `ours`, unless somebody changed the key since.

        What is kept `aside` gets its name again; without it the name is free again. Returns False
        where the published file stays, because `was_there` what nobody kept.
        """
        folders, last = self._tree.split(key)
        try:
            with self._exclusive(), self._tree.folder(folders) as folder:
                status = os.stat(last, dir_fd=folder, follow_symlinks=False)
                if (status.st_dev, status.st_ino) != ours:
                    return self._hand_over(ours, aside, was_there)
                if self._has(aside):
                    _rename((self._drafts, aside), (folder, last))
                    put_note_back(self._tree, self._drafts, _about(aside), key)
                elif was_there and not self._has(aside, _FREE):
                    return False
                else:
                    drop_note(self._tree, key)
                    os.unlink(last, dir_fd=folder)
                os.fsync(folder)
        except (FileNotFoundError, NotFound, Exists):  # deleted since
            return True
        finally:
            self._drop(aside)
        self._tree.prune(folders)
        return True

    def let_go(self, aside: str) -> None:
        """What was replaced goes. Does nothing where nothing was kept."""
        if aside:
            with ExitStack() as locked:
                with suppress(Unavailable):  # who has the lock hangs
                    locked.enter_context(self._exclusive())  # nothing is handed over meanwhile
                self._drop(aside)

    # Under the lock

    def _hand_over(self, ours: tuple[int, int], aside: str, was_there: bool) -> bool:
        """Another publish replaced `ours`: if it may still be undone, that is not to bring it back.

        Returns False where it would, because nobody kept what `was_there`.
        """
        if not (keeper := self._keeper(ours)):
            return True  # another client's file, which stands
        if was_there and not self._has(aside) and not self._has(aside, _FREE):
            return False
        with suppress(FileNotFoundError):
            os.unlink(_about(keeper), dir_fd=self._drafts)
        if self._has(aside):
            _rename((self._drafts, aside), (self._drafts, keeper))
            with suppress(FileNotFoundError):
                _rename((self._drafts, _about(aside)), (self._drafts, _about(keeper)))
        else:
            _rename((self._drafts, keeper), (self._drafts, keeper + _FREE))
        return True

    def _keeper(self, ours: tuple[int, int]) -> str:
        """The name under which another publish keeps this file; "" for none."""
        with os.scandir(self._drafts) as found:
            for item in found:
                if item.name.endswith(KEPT):
                    with suppress(FileNotFoundError):
                        status = item.stat(follow_symlinks=False)
                        if (status.st_dev, status.st_ino) == ours:
                            return item.name
        return ""

    def _has(self, aside: str, ending: str = "") -> bool:
        if not aside:
            return False
        try:
            os.stat(aside + ending, dir_fd=self._drafts, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _drop(self, aside: str) -> None:
        for name in (aside, _about(aside), aside + _FREE):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._drafts)


def _about(aside: str) -> str:
    return f"{aside}.about"


def _rename(old: tuple[int, str], new: tuple[int, str]) -> None:
    os.rename(old[1], new[1], src_dir_fd=old[0], dst_dir_fd=new[0])


def _exchange(one: tuple[int, str], other: tuple[int, str]) -> bool:
    """Let two files change names, in one step. Returns False where the system cannot."""
    if _renameat2 is None:
        return False
    names = (os.fsencode(one[1]), os.fsencode(other[1]))
    return bool(_renameat2(one[0], names[0], other[0], names[1], _EXCHANGE) == 0)
