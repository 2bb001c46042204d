"""Starlette and FastAPI: forms while they arrive, and the whole service inside an app.

`add(app)` makes FastAPI's `file: LiveUpload` live; `async for part in parts(request)` walks a form
in any view. Runs on every ASGI server.
"""

from __future__ import annotations

from sluiceway.server.forms.walk import FormField
from sluiceway.starlette.extension import add, answered
from sluiceway.starlette.form_plan import Live
from sluiceway.starlette.live_upload import LiveUpload
from sluiceway.starlette.parts import Parts, parts

__all__ = ["FormField", "Live", "LiveUpload", "Parts", "add", "answered", "parts"]
