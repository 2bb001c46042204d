"""`request.form` and `request.files` of a form that still arrives: Werkzeug's own dicts, filled on
demand.

To ask for a name reads on to that part; to ask for all of them reads to the end. Knows dicts only;
`Arrivals` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, cast

from werkzeug.datastructures import ImmutableMultiDict, MultiDict

__all__ = ["Arrivals", "ArrivingDict", "ArrivingFiles", "ArrivingList"]

V = TypeVar("V")

# What needs all of them. `get` asks by name.
COMPLETE_FIRST = (
    *("__copy__", "__eq__", "__hash__", "__len__", "__ne__", "__or__", "__reversed__"),
    *("copy", "items", "keys", "listvalues", "lists", "to_dict", "values"),
)
COMPLETE_LIST = (
    *("__add__", "__contains__", "__delitem__", "__eq__", "__ge__", "__gt__", "__iadd__"),
    *("__imul__", "__le__", "__len__", "__lt__", "__mul__", "__ne__", "__repr__"),
    *("__reversed__", "__rmul__", "__setitem__", "append", "clear", "copy", "count"),
    *("extend", "index", "insert", "pop", "remove", "reverse", "sort"),
)


class Arrivals(Protocol):
    """The form that is read."""

    def advance(self, wanted: str) -> bool:
        """Read on to the next part; False at the end. `wanted` is said in the log."""
        ...


class ArrivingDict(ImmutableMultiDict[str, V]):
    """The fields or the files that came, and those that come."""

    def __init__(self, form: Arrivals, what: str) -> None:
        super().__init__()
        self._form, self._what = form, what

    def arrived(self, name: str, value: V) -> None:
        """Add a part that came."""
        held: dict[str, list[V]] = cast("Any", self)  # as Werkzeug keeps them
        dict.setdefault(held, name, []).append(value)

    def known(self) -> MultiDict[str, V]:
        """Those that came."""
        held = dict.items(cast("dict[str, list[V]]", self))
        return MultiDict({name: list(values) for name, values in held})

    def arrived_so_far(self) -> Iterator[V]:
        """All values that came."""
        for values in dict.values(cast("dict[str, list[V]]", self)):
            yield from values

    def complete(self, wanted: str = "") -> None:
        """Read to the end of the form."""
        while self._form.advance(wanted or f"all {self._what}s"):
            pass

    def __contains__(self, name: object) -> bool:
        while not dict.__contains__(self, name):
            if not self._form.advance(f"the {self._what} {name!r}"):
                return False
        return True

    def __getitem__(self, name: str) -> V:
        return super().__getitem__(name)  # which asks whether it is there first

    def __bool__(self) -> bool:
        while not dict.__len__(self):
            if not self._form.advance(f"any {self._what}"):
                return False
        return True

    def __iter__(self) -> Iterator[str]:
        self.complete()
        return super().__iter__()

    def getlist(self, key: str, type: Callable[[Any], Any] | None = None) -> Any:
        self.complete(f"every {self._what} {key!r}")
        return super().getlist(key) if type is None else super().getlist(key, type)

    def _as_plain(self) -> ImmutableMultiDict[str, V]:
        return ImmutableMultiDict(self.items(multi=True))

    def __repr__(self) -> str:
        return repr(self._as_plain())

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._as_plain().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> Any:
        return self._as_plain().deepcopy(memo)

    def deepcopy(self, memo: Any = None) -> Any:
        return self._as_plain().deepcopy(memo)


class ArrivingFiles(ArrivingDict[V]):
    """Files: one that is read to its end before the next one is asked for stays live."""

    def __iter__(self) -> Iterator[str]:
        at = 0
        while True:
            names = list(dict.keys(self))
            if at < len(names):
                yield names[at]
                at += 1
            elif not self._form.advance("the next file"):
                return

    def values(self) -> Any:
        return (self[name] for name in self)

    def items(self, multi: bool = False) -> Any:
        if not multi:
            return ((name, self[name]) for name in self)
        self.complete()
        return super().items(multi=True)

    def getlist(self, key: str, type: Callable[[Any], Any] | None = None) -> Any:
        return ArrivingList(self, key) if type is None else super().getlist(key, type)

    def next_of(self, key: str, at: int) -> bool:
        """Read on until there are more than `at` files in the field; False if there are not."""
        while len(self.known_of(key)) <= at:
            if not self._form.advance(f"file {at + 1} in the field {key!r}"):
                return False
        return True

    def known_of(self, key: str) -> list[V]:
        """The files in a field that came so far."""
        held: dict[str, list[V]] = cast("Any", self)
        return dict.get(held, key, [])


class ArrivingList(list[V]):
    """The files of one field: a loop over them reads one after the other."""

    def __init__(self, files: ArrivingFiles[V], key: str) -> None:
        super().__init__()
        self._files, self._key, self._whole = files, key, False

    def complete(self) -> None:
        """Read to the end of the form."""
        if not self._whole:
            self._files.complete(f"every file in the field {self._key!r}")
            self._whole = True
            list.extend(self, self._files.known_of(self._key))

    def __iter__(self) -> Iterator[V]:
        at = 0
        while not self._whole and self._files.next_of(self._key, at):
            yield self._files.known_of(self._key)[at]
            at += 1
        self.complete()
        while at < list.__len__(self):
            yield list.__getitem__(self, at)
            at += 1

    def __bool__(self) -> bool:
        return list.__len__(self) > 0 if self._whole else self._files.next_of(self._key, 0)

    def __radd__(self, other: list[Any]) -> list[Any]:
        return [*other, *self]

    def __getitem__(self, index: Any) -> Any:
        first = not self._whole and isinstance(index, int) and index >= 0
        if first and self._files.next_of(self._key, index):
            return self._files.known_of(self._key)[index]
        self.complete()
        return super().__getitem__(index)


def _complete_first(kind: Any, name: str) -> None:
    inherited = getattr(kind, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.complete()
        return inherited(self, *args, **kwargs)

    method.__name__ = name
    setattr(kind, name, method)


for _name in COMPLETE_FIRST:
    _complete_first(ArrivingDict, _name)
for _name in COMPLETE_LIST:
    _complete_first(ArrivingList, _name)
