"""Flask: after `Sluiceway(app)` views read `request.files` while the client still sends.

Nothing is spooled: to read a file is to read the socket, so fields and files come in the order the
client sent them. Runs on every WSGI server that streams; what a server cannot do is an error,
never missing bytes.
"""

from __future__ import annotations

from sluiceway.errors import UploadRefused
from sluiceway.flask.extension import Sluiceway, needs
from sluiceway.flask.live_request import Fields, Files, FlaskFile, LiveRequest, request
from sluiceway.flask.service import mount, stream
from sluiceway.server.forms.walk import FormField
from sluiceway.server.mounted.uploads import EndedUpload, StartedUpload

__all__ = [
    "EndedUpload",
    "Fields",
    "Files",
    "FlaskFile",
    "FormField",
    "LiveRequest",
    "Sluiceway",
    "StartedUpload",
    "UploadRefused",
    "mount",
    "needs",
    "request",
    "stream",
]
