"""A Flask app with the whole service under /up. gunicorn.conf.py and uwsgi.ini run it.

Replace it by your own app.

DESTINATION is a folder, or the URL of an API that gets the files. TOKEN_FILE names a file with the
token that clients must send, or TOKEN holds the token. Without either the app does not start.
"""

import os

from flask import Flask

from sluiceway.flask import Sluiceway, mount

if not (os.environ.get("TOKEN_FILE") or os.environ.get("TOKEN")):
    raise SystemExit(
        "set TOKEN_FILE (a file that holds the token), or TOKEN; without a token everybody could "
        "upload, read and delete"
    )

app = Flask(__name__)
Sluiceway(app)  # request.files, request.parts and request.stream of your own views are live
mount(
    app,
    "/up",
    to=os.environ.get("DESTINATION", "./uploads"),
    token_file=os.environ.get("TOKEN_FILE"),
    token=None if os.environ.get("TOKEN_FILE") else os.environ.get("TOKEN"),
)
