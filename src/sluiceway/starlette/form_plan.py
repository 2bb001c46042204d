"""What a view wants of a form, before it runs: names of fields and files, and which may be live.

Read from FastAPI's description of the view and its dependencies. It must not know bytes.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Annotated, Any, Union, get_args, get_origin

from starlette.datastructures import UploadFile

from sluiceway.starlette.live_upload import LiveUpload

__all__ = ["FormPlan", "Live"]


@dataclass(frozen=True, slots=True)
class Live:
    """Beside LiveUpload: how a file of a FastAPI view is read.

    Args:
        fields_first: The view's fields must stand before this file, so that the file is always
            live: a field that is missing there counts as missing, and one that follows raises
            WrongOrder (422). Without it the file is spooled where a field may still follow.

    Example:
        file: Annotated[LiveUpload, Live(fields_first=True)]
    """

    fields_first: bool = False


@dataclass(frozen=True, slots=True)
class _WantedFile:
    live: bool  # else the view wants it whole: as UploadFile, or as one of a list
    fields_first: bool


@dataclass(frozen=True, slots=True)
class FormPlan:
    """The names that a view's parameters take from a form.

    Args:
        files: Those of files.
        fields: Those of fields with one value.
        open_fields: Those of fields with any number of values; "*": any field at all.
    """

    files: dict[str, _WantedFile] = field(default_factory=dict)
    fields: set[str] = field(default_factory=set)
    open_fields: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, dependants: Iterable[Any]) -> FormPlan | None:
        """The plan of a view; None if it takes no LiveUpload.

        `dependants` are FastAPI's: of one route, one for each router that includes it.
        """
        plan = cls()
        takes_live = False
        for parameter in _body_parameters(dependants):
            info = parameter.field_info
            takes_live |= LiveUpload in _types(info.annotation)
            plan._add(_name(parameter.alias, info), info.annotation, info.metadata)
        return plan if takes_live else None

    def names_field(self, name: str) -> bool:
        return name in self.fields or not self.open_fields.isdisjoint((name, "*"))

    def waits_for(self, seen: AbstractSet[str], file: str) -> str | None:
        """Why this file, which comes now, cannot be live; None if it can."""
        if not self.files[file].live:
            return "its type: only a single LiveUpload can be live"
        later = sorted(self.files.keys() - seen)
        if later or any(not one.live for one in self.files.values()):
            names = later or sorted(name for name, one in self.files.items() if not one.live)
            return f"the file {names[0]!r}, which may follow. Only the last file can be live"
        if self.files[file].fields_first:
            return None
        wanted = sorted(self.fields - seen) or sorted(self.open_fields)
        if not wanted:
            return None
        name = "any field" if wanted[0] == "*" else f"the field {wanted[0]!r}"
        return (
            f"{name}, which may follow. Send fields before files; "
            "Annotated[LiveUpload, Live(fields_first=True)] insists on it"
        )

    def _add(self, name: str | None, annotation: Any, metadata: Sequence[Any]) -> None:
        kinds = _types(annotation)
        if name is None:
            self.open_fields.add("*")
        elif LiveUpload in kinds or any(_is_file(kind) for kind in kinds):
            first = any(isinstance(one, Live) and one.fields_first for one in metadata)
            self.files[name] = _WantedFile(LiveUpload in kinds and not _is_many(kinds), first)
        elif models := [kind for kind in kinds if hasattr(kind, "model_fields")]:
            for model in models:
                self._add_model(model)
        elif _is_many(kinds):
            self.open_fields.add(name)
        else:
            self.fields.add(name)

    def _add_model(self, model: Any) -> None:
        if model.model_config.get("extra") in ("allow", "forbid"):
            self.open_fields.add("*")
        for name, info in model.model_fields.items():
            self._add(_name(info.alias or name, info), info.annotation, info.metadata)


def _body_parameters(dependants: Iterable[Any]) -> Iterator[Any]:
    for dependant in dependants:
        yield from dependant.body_params
        yield from _body_parameters(dependant.dependencies)


def _name(alias: str, info: Any) -> str | None:
    """The name in the form; None if there are several."""
    validation = info.validation_alias
    return validation or alias if validation is None or isinstance(validation, str) else None


def _types(annotation: Any) -> list[Any]:
    """The types in an annotation: those of a union, a list, Annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _types(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [one for each in get_args(annotation) for one in _types(each)]
    if isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet):
        return [list, *(one for each in get_args(annotation) for one in _types(each))]
    return [annotation]


def _is_many(kinds: list[Any]) -> bool:
    return any(
        isinstance(kind, type) and issubclass(kind, list | tuple | set | frozenset)
        for kind in kinds
    )


def _is_file(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, UploadFile | bytes)
