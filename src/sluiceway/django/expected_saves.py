"""Where a file of a form will probably be saved: what the site's models tell of a form's field.

A bucket has to know the name before the first part of a large file. A wrong guess costs a copy
inside of the bucket. Knows models and storages, no requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.storage import DefaultStorage, storages
from django.core.validators import FileExtensionValidator
from django.db.models import FileField, ImageField

from sluiceway.django.storage import Storage

__all__ = ["ExpectedSave", "expect_save"]


@dataclass(frozen=True, slots=True)
class ExpectedSave:
    """What is expected of a file before its first byte.

    Args:
        storage: The storage that takes its draft; None for a temporary file.
        name: The name it will get there, which is free; "" if that cannot be known.
        wanted: The name that the field will ask for, which may be taken.
    """

    storage: Storage | None
    name: str = ""
    wanted: str = ""


def expect_save(field_name: str | None, file_name: str) -> ExpectedSave:
    """What the models tell of a form's field with this name, and the site's storages else.

    The name is expected where all FileFields of this name agree on it: their `upload_to` is no
    function, and none reads its files to validate them.
    """
    fields = list(_file_fields(field_name)) if field_name else []
    ours = list(dict.fromkeys(id(_storage_of(field)) for field in fields if _storage_of(field)))
    storage = _storage_of(fields[0]) if len(ours) == 1 and _storage_of(fields[0]) else _default()
    if storage is None or not storage.opened.store.traits.readable_drafts:
        return ExpectedSave(None)
    there = [field for field in fields if _storage_of(field) is storage]
    if not storage.opened.store.traits.key_first or not there or any(map(_reads, there)):
        return ExpectedSave(storage)
    try:
        wanted = {(_name_in(field, file_name), field.max_length) for field in there}
        if len(wanted) != 1:
            return ExpectedSave(storage)
        name, max_length = wanted.pop()
        return ExpectedSave(storage, storage.get_available_name(name, max_length), name)
    except SuspiciousFileOperation:  # saving raises it, if the site comes so far
        return ExpectedSave(storage)


def _file_fields(name: str) -> Iterator[FileField]:
    """The models' FileFields that a form's field may stand for. Formsets put a prefix before."""
    last = name.rpartition("-")[2]
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, FileField) and field.name == last:
                yield field


def _storage_of(field: FileField) -> Storage | None:
    """The field's storage, if it is ours. `default_storage` stands for the one in STORAGES."""
    storage: object = field.storage
    if isinstance(storage, DefaultStorage):
        storage = storages["default"]
    return storage if isinstance(storage, Storage) else None


def _default() -> Storage | None:
    """The site's default storage, if it is ours, else the only one of ours."""
    default = storages["default"]
    if isinstance(default, Storage):
        return default
    found = [storages[alias] for alias in storages.backends]
    ours = [storage for storage in found if isinstance(storage, Storage)]
    return ours[0] if len(ours) == 1 else None


def _reads(field: FileField) -> bool:
    """Whether validation reads more than the name, or the name is not known before."""
    known = all(isinstance(one, FileExtensionValidator) for one in field.validators)
    return callable(field.upload_to) or isinstance(field, ImageField) or not known


def _name_in(field: FileField, file_name: str) -> str:
    """As FileField itself: with a fixed `upload_to` the instance is not asked."""
    nothing: Any = None
    return str(field.generate_filename(nothing, file_name))
