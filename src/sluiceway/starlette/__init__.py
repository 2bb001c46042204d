"""Starlette and FastAPI: forms while they arrive, and the whole service inside an app.

`add(app)` makes FastAPI's `file: LiveUpload` live; `async for part in parts(request)` walks a form
in any view. Runs on every ASGI server.
"""

from __future__ import annotations

from sluiceway.errors import UploadRefused
from sluiceway.server.forms.walk import FormField
from sluiceway.server.mounted.uploads import EndedUpload, StartedUpload
from sluiceway.starlette.extension import add, answered
from sluiceway.starlette.form_plan import Live
from sluiceway.starlette.live_upload import LiveUpload
from sluiceway.starlette.parts import Parts, parts
from sluiceway.starlette.service import mount
from sluiceway.uploads.hooks.around import KeptUpload

__all__ = [
    "EndedUpload",
    "FormField",
    "KeptUpload",
    "Live",
    "LiveUpload",
    "Parts",
    "StartedUpload",
    "UploadRefused",
    "add",
    "answered",
    "mount",
    "parts",
]
