"""`Storage`: a Django storage whose files rest in any store, and which takes over drafts of forms.

What differs between a folder and all other stores is in `folder_files` and `store_files`. This file
knows names, drafts and how a file is saved.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.files.base import File
from django.core.files.storage import Storage as DjangoStorage
from django.core.files.utils import validate_file_name
from django.utils.deconstruct import deconstructible

from sluiceway.django.blocking_draft import BlockingDraft
from sluiceway.django.files.folder_files import FolderFiles
from sluiceway.django.files.store_files import StoreFiles
from sluiceway.django.files.unsaved_file import UnsavedFile
from sluiceway.django.open_stores import OpenStore, open_store
from sluiceway.errors import BadName, Exists, Forbidden
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.stores.contract import Replace, UploadRequest
from sluiceway.wire.headers.media_types import kept_type
from sluiceway.wire.names import clean_name
from sluiceway.wire.urls import is_place, is_url, redact_url

__all__ = ["Storage"]

# Memory of one storage in one process, in which parts for a bucket gather. One upload at full speed
# fits into it; more share it.
BUDGET = "64MiB"


@deconstructible(path="sluiceway.django.Storage")
class Storage(DjangoStorage):
    """A Django storage: in a folder, a bucket, a database or what fsspec knows.

    With `sluiceway.django.UploadHandler` a file of a form is a draft in here while it is validated,
    and saving it publishes the draft.

    Args:
        to: A folder, `s3://BUCKET/PREFIX`, `gs://…`, `az://…`, `postgresql://…?table=NAME` or
            `fsspec+PROTOCOL://…`. Without it, the folder MEDIA_ROOT.
        base_url: What URLs begin with. Without it a bucket's own signed URLs, and MEDIA_URL for all
            other places.
        allow_overwrite: Saving replaces a file of this name, instead of finding another name.
        url_expires: Seconds a signed URL is valid.
        store_option: NAME=VALUE, as `--store-option` of the server; one or several.
        memory_budget: Memory of this storage in each process, such as "64MiB".
        file_permissions_mode: Of files in a folder; without it FILE_UPLOAD_PERMISSIONS.
        directory_permissions_mode: Of folders; without it FILE_UPLOAD_DIRECTORY_PERMISSIONS.

    Raises:
        BadSetting: `to` cannot be a storage: another server, or several places.

    Example:
        STORAGES = {
            "default": {
                "BACKEND": "sluiceway.django.Storage",
                "OPTIONS": {"to": "s3://my-bucket/media"},
            },
            ...
        }
    """

    _files: FolderFiles | StoreFiles

    def __init__(
        self,
        to: str | os.PathLike[str] | None = None,
        *,
        base_url: str | None = None,
        allow_overwrite: bool = False,
        url_expires: float = 3600.0,
        store_option: str | Sequence[str] = (),
        memory_budget: str | int = BUDGET,
        file_permissions_mode: int | None = None,
        directory_permissions_mode: int | None = None,
    ) -> None:
        self._allow_overwrite = allow_overwrite
        self._budget = str(memory_budget)
        self._options = (store_option,) if isinstance(store_option, str) else tuple(store_option)
        self._to = "" if to is None else os.fspath(to)
        if _is_folder(self._to):
            self._files = FolderFiles(
                self._to or None, base_url, file_permissions_mode, directory_permissions_mode
            )
        else:
            self._files = StoreFiles(lambda: self.opened, base_url, url_expires)
            self._settings()  # a wrong one stops the site when it starts

    @property
    def opened(self) -> OpenStore:
        """The store in this process. Raises BadSetting, StoreFailed."""
        return open_store(self._settings())

    def begin_draft(
        self, filename: str, content_type: str | None, name: str = "", size: int | None = None
    ) -> BlockingDraft:
        """Begin an object that is saved or discarded later.

        Args:
            filename: The name that the client sent.
            content_type: The type that the client sent.
            name: The name that it will probably be saved under; "" if that is not known.
            size: Bytes, where they are known.

        Raises:
            BadSetting, NoSpace, StoreFailed, Unavailable: As the store.
        """
        clean = clean_name(filename)
        request = UploadRequest(
            key=name,
            filename=clean,
            type=kept_type(content_type or "", clean),
            key_may_change=bool(name),
        )
        return BlockingDraft(self.opened, request, size)

    # What Django asks of a storage

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        """Django's own, except that a draft keeps the name it was begun under, if that is free."""
        begun = self._begun_name(name, content)
        if begun is None:
            return super().save(name, content, max_length=max_length)
        validate_file_name(begun, allow_relative_path=True)
        return self._save(begun, content)

    def get_valid_name(self, name: str) -> str:
        return self._files.valid_name(super().get_valid_name(name))

    def is_name_available(self, name: str, max_length: int | None = None) -> bool:
        if max_length and len(name) > max_length:
            return False
        return self._allow_overwrite or not self.exists(name)

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Django's own, without the names that uploads under way hold in a bucket."""
        if self._allow_overwrite and not (max_length and len(str(name)) > max_length):
            return str(name).replace("\\", "/")
        found = super().get_available_name(name, max_length=max_length)
        while self._files.is_claimed(found):
            root, dot, extensions = os.path.basename(found).partition(".")
            other = self.get_alternative_name(root, dot + extensions)
            found = super().get_available_name(
                os.path.join(os.path.dirname(found), other), max_length=max_length
            )
        return found

    def path(self, name: str) -> str:
        return self._files.path(name)

    def delete(self, name: str) -> None:
        self._files.delete(name)

    def exists(self, name: str) -> bool:
        return self._files.exists(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        return self._files.listdir(path)

    def size(self, name: str) -> int:
        return self._files.size(name)

    def url(self, name: str | None) -> str:
        return self._files.url(name)

    def get_accessed_time(self, name: str) -> datetime:
        return self._files.get_accessed_time(name)

    def get_created_time(self, name: str) -> datetime:
        return self._files.get_created_time(name)

    def get_modified_time(self, name: str) -> datetime:
        return self._files.get_modified_time(name)

    def __getattr__(self, name: str) -> Any:
        """A folder's `location`, `base_url`, `file_permissions_mode` …"""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._files, name)

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        return self._files.open_file(name, mode)

    def _save(self, name: str, content: Any) -> str:
        adopted = self._draft_of(content)
        try:
            self._files.key(name)
            draft = adopted or self._drafted(name, content)
            try:
                name = self._publish(name, draft)
            finally:
                if adopted is None:
                    draft.discard()
        except (BadName, Forbidden) as error:
            # a name or a link that a store refuses, and Django does not
            return self._files.save_otherwise(name, content, error)
        if adopted is not None:
            content.mark_saved(self, name)
        return name

    def _publish(self, name: str, draft: BlockingDraft) -> str:
        """Publish under this name, or under another one where it was taken meanwhile."""
        replace = Replace(allowed=self._allow_overwrite)
        while True:
            try:
                self._files.before_publish(name)
                draft.publish(self._files.key(name), replace)
            except Exists:
                if self.is_name_available(name):  # the store refuses for another reason
                    raise
                name = self.get_available_name(name)
            else:
                return self._files.after_publish(name)

    # Drafts

    def _settings(self) -> Settings:
        place = self._to if isinstance(self._files, StoreFiles) else str(self._files.location)
        return Settings(to=(place,), store_option=self._options, memory_budget=self._budget)

    def _begun_name(self, name: str | None, content: object) -> str | None:
        """The name that a large object of a bucket gets without a copy."""
        draft = self._draft_of(content)
        if draft is None or not isinstance(content, UnsavedFile) or not draft.request.key:
            return None
        begun, wanted = draft.request.key, str(name or content.name).replace("\\", "/")
        if wanted != content.expected_name or self.exists(begun):
            return None
        return begun if begun == wanted or self.exists(wanted) else None

    def _draft_of(self, content: object) -> BlockingDraft | None:
        """The draft of this very store that the content is."""
        if not isinstance(content, UnsavedFile):
            return None
        draft = content.draft
        return draft if draft is not None and draft.opened is self.opened else None

    def _drafted(self, name: str, content: Any) -> BlockingDraft:
        """A new draft with all of the content."""
        filename = name.rpartition("/")[2]
        draft = self.begin_draft(filename, getattr(content, "content_type", None), name)
        try:
            for chunk in content.chunks():
                draft.write(chunk.encode() if isinstance(chunk, str) else bytes(chunk))
            draft.finish()
        except BaseException:
            draft.discard()
            raise
        return draft


def _is_folder(to: str) -> bool:
    if is_url(to):
        raise BadSetting(
            f"{redact_url(to)} is another server, whose files Django could not read; use "
            "@sluiceway.django.uploads for views that pass files on"
        )
    return not (is_place(to) or to.startswith("memory:"))
