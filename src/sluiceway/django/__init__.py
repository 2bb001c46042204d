"""Django: a storage that takes over what a form's files stream into, and forms read as they come.

`Storage` and `UploadHandler` change no view of a site. A view of its own reads a form by `parts`,
or has @uploads store its files. Nothing is spooled, and nothing is published for a request that the
site refuses. Under ASGI Django stores the body before any code of a site runs.
"""

from __future__ import annotations

from sluiceway.django.expected_saves import ExpectedSave
from sluiceway.django.files.stored_files import StoredFile
from sluiceway.django.files.unsaved_file import UnsavedFile
from sluiceway.django.form_parts import DjangoFile, csrf_by_header, parts
from sluiceway.django.middleware import Problems, WatchedUploads, progress_urls
from sluiceway.django.service import mount
from sluiceway.django.storage import Storage
from sluiceway.django.upload_handler import UploadHandler
from sluiceway.django.upload_views import publish, uploads
from sluiceway.errors import UploadRefused
from sluiceway.server.forms.walk import FormField
from sluiceway.server.mounted.uploads import EndedUpload, StartedUpload
from sluiceway.uploads.hooks.around import KeptUpload

__all__ = [
    "DjangoFile",
    "EndedUpload",
    "ExpectedSave",
    "FormField",
    "KeptUpload",
    "Problems",
    "StartedUpload",
    "Storage",
    "StoredFile",
    "UnsavedFile",
    "UploadHandler",
    "UploadRefused",
    "WatchedUploads",
    "csrf_by_header",
    "mount",
    "parts",
    "progress_urls",
    "publish",
    "uploads",
]
