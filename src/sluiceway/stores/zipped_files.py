"""Which files go into a zip, under which names: those below a prefix, of a view, or selected ones.

The budget holds the memory of their entries until `aclose`. `path_of` makes of a key the path that
people know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from sluiceway.archives.zip_writer import MEMBER_COST, ZipMember
from sluiceway.errors import Forbidden, NotFound, SourceChanged, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Source
from sluiceway.stores.browsing import View, walk_view
from sluiceway.stores.contract import Entry, Omitted, Store
from sluiceway.wire.names import numbered, readable_name

__all__ = ["FilesBelow", "FilesOfView", "SelectedFiles", "ZippedFiles"]

LISTING_PAGE = 1000  # entries asked of the store at a time
BUDGET_SHARE = 0.75  # of the budget, for the entries of zips; the rest is for uploads


class ZippedFiles(ABC):
    """Objects of a store that go into one zip.

    Attributes:
        where: Which files they are, for people: "below 'photos/'".
        name: What the zip is called, without its extension; "" for no name of its own.
    """

    where: str
    name: str = ""

    def __init__(self, store: Store, budget: Budget) -> None:
        self._store, self._budget = store, budget
        self._acquired = 0
        self._keys: dict[str, str] = {}  # member -> key, where they differ

    @abstractmethod
    def items(self) -> AsyncGenerator[ZipMember | Omitted, None]:
        """Raises Unavailable, and what the store raises."""

    @asynccontextmanager
    async def open(self, member: ZipMember) -> AsyncIterator[Source]:
        """Raises SourceChanged if the object was replaced since it was listed."""
        reader = await self._store.open(self._keys.get(member.name, member.name))
        try:
            if reader.entry.etag != member.version:
                raise SourceChanged("it was replaced meanwhile")
            yield reader
        finally:
            await reader.aclose()

    async def aclose(self) -> None:
        """The zip is sent, or given up. Safe to call twice."""
        self._budget.release(self._acquired)
        self._acquired = 0

    def _acquire(self, count: int) -> None:
        """Borrow memory for so many members."""
        cost = count * MEMBER_COST
        if not self._budget.acquire(cost, within=BUDGET_SHARE):
            public = "The server has no memory left for so many files; choose a longer prefix"
            raise Unavailable(f"{public}, or raise --memory-budget").for_operator(public)
        self._acquired += cost

    def _item(self, path: str, entry: Entry) -> ZipMember | Omitted:
        """A member, or why the file cannot be one."""
        if entry.metadata.downloads is not None:
            why = "it is for a few downloads only; download it by itself"
            return Omitted(readable_name(path), "forbidden", why)
        return self._member(path, entry)

    def _member(self, path: str, entry: Entry) -> ZipMember:
        """A member under the path that people know; two of one path get numbers."""
        name, number = path, 2
        while name in self._keys:
            name, number = numbered(path, number), number + 1
        self._keys[name] = entry.key
        return ZipMember(name, entry.size, entry.modified, entry.etag)


class FilesBelow(ZippedFiles):
    """All objects whose keys begin with a prefix, under their whole keys."""

    def __init__(self, store: Store, prefix: str, budget: Budget) -> None:
        super().__init__(store, budget)
        self._prefix = prefix
        self.where: str = f"below {prefix!r}"
        self.name: str = _last_folder(prefix)

    async def items(self) -> AsyncGenerator[ZipMember | Omitted, None]:
        after: str | None = ""
        while after is not None:
            page = await self._store.list(self._prefix, after, LISTING_PAGE)
            self._acquire(len(page.entries) + len(page.omitted))
            for entry in page.entries:
                yield self._item(entry.key, entry)
            for one in page.omitted:
                yield one
            after = page.next


class FilesOfView(ZippedFiles):
    """All files of a folder and those below it, or those of them that were searched.

    Their names begin with the folder's own.
    """

    def __init__(
        self, store: Store, view: View, budget: Budget, path_of: Callable[[str], str]
    ) -> None:
        super().__init__(store, budget)
        self._path_of = path_of
        # The words of a search are in it, too: then files of all folders below are meant.
        self._folder, self._view = view.folder or "", View(None, view.search)
        self.where: str = f"in {self._folder!r}"
        self.name: str = _last_folder(self._folder)

    async def items(self) -> AsyncGenerator[ZipMember | Omitted, None]:
        parent = self._folder[: len(self._folder) - len(self.name) - 1] if self._folder else ""
        async for path, found in walk_view(self._store, self._view, self._path_of):
            if not path.startswith(self._folder):
                continue
            self._acquire(1)
            if isinstance(found, Omitted):
                yield found
            elif found is not None:
                yield self._item(path.removeprefix(parent), found)


class SelectedFiles(ZippedFiles):
    """Objects by their keys. Those that are gone are left out, and named in the zip's comment."""

    where = "among the selected ones"

    def __init__(
        self, store: Store, keys: Sequence[str], budget: Budget, path_of: Callable[[str], str]
    ) -> None:
        super().__init__(store, budget)
        self._selected, self._path_of = keys, path_of

    async def items(self) -> AsyncGenerator[ZipMember | Omitted, None]:
        paths = [self._path_of(key) for key in self._selected]
        # The folders that all of them are in say nothing.
        shared = _shared_folders(paths)
        for key, path in zip(self._selected, paths, strict=True):
            self._acquire(1)
            try:
                entry = await self._store.stat(key)
            except (NotFound, Forbidden) as error:
                yield Omitted(readable_name(path), error.code, "it is not there any more")
            else:
                yield self._item(path.removeprefix(shared), entry)


def _last_folder(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2]


def _shared_folders(paths: Sequence[str]) -> str:
    """The folders in front of all paths: "a/b/" of a/b/c.txt and a/b/d/e.txt."""
    least, most = min(paths, default=""), max(paths, default="")
    at = 0
    while at < min(len(least), len(most)) and least[at] == most[at]:
        at += 1
    return least[: least.rfind("/", 0, at) + 1]
