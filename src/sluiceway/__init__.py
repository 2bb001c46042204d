"""Files of any size through a Python web app, in constant memory, done when the destination has
them.

Names are loaded at their first use: importing the package loads no HTTP client, server or
framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluiceway.client.bodies.bridge import Bridge, BridgeReader, BridgeWriter
    from sluiceway.client.bodies.form import Form
    from sluiceway.client.bodies.sized import Sized
    from sluiceway.client.local.command import Command
    from sluiceway.copying.api import acopy, acopy_all, copy, copy_all
    from sluiceway.copying.report import ObjectResult, Overall, Report
    from sluiceway.errors import SluiceError
    from sluiceway.pipe.receipt import Progress, Receipt
    from sluiceway.server.app import Sluiceway
    from sluiceway.uploads.access.links import link

    __version__: str

__all__ = [
    "Bridge",
    "BridgeReader",
    "BridgeWriter",
    "Command",
    "Form",
    "ObjectResult",
    "Overall",
    "Progress",
    "Receipt",
    "Report",
    "Sized",
    "SluiceError",
    "Sluiceway",
    "__version__",
    "acopy",
    "acopy_all",
    "copy",
    "copy_all",
    "link",
]

_HOMES = {
    "Bridge": "sluiceway.client.bodies.bridge",
    "BridgeReader": "sluiceway.client.bodies.bridge",
    "BridgeWriter": "sluiceway.client.bodies.bridge",
    "Command": "sluiceway.client.local.command",
    "Form": "sluiceway.client.bodies.form",
    "ObjectResult": "sluiceway.copying.report",
    "Overall": "sluiceway.copying.report",
    "Progress": "sluiceway.pipe.receipt",
    "Receipt": "sluiceway.pipe.receipt",
    "Report": "sluiceway.copying.report",
    "Sized": "sluiceway.client.bodies.sized",
    "SluiceError": "sluiceway.errors",
    "Sluiceway": "sluiceway.server.app",
    "acopy": "sluiceway.copying.api",
    "acopy_all": "sluiceway.copying.api",
    "copy": "sluiceway.copying.api",
    "copy_all": "sluiceway.copying.api",
    "link": "sluiceway.uploads.access.links",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("sluiceway")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'sluiceway' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
