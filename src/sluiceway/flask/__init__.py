"""Flask: after `Sluiceway(app)` views read `request.files` while the client still sends.

Live where it can be, spooled where it must be: an app that worked goes on working. Runs on every
WSGI server that streams; what a server cannot do is an error, never missing bytes.
"""

from __future__ import annotations

from sluiceway.errors import UploadRefused
from sluiceway.flask.extension import Sluiceway, needs
from sluiceway.flask.flask_file import FlaskFile
from sluiceway.flask.live_request import LiveRequest, request
from sluiceway.flask.service import mount, stream
from sluiceway.flask.view_modes import live, spooled
from sluiceway.server.forms.walk import FormField
from sluiceway.server.mounted.uploads import EndedUpload, StartedUpload
from sluiceway.uploads.hooks.around import KeptUpload

__all__ = [
    "EndedUpload",
    "FlaskFile",
    "FormField",
    "KeptUpload",
    "LiveRequest",
    "Sluiceway",
    "StartedUpload",
    "UploadRefused",
    "live",
    "mount",
    "needs",
    "request",
    "spooled",
    "stream",
]
