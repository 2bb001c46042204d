"""A remote file passes through the app to the client, block by block.

Status, type, length and ranges are the remote server's.

    gunicorn -k gthread --threads 32 -b 127.0.0.1:5000 download_through:app
    curl --get http://127.0.0.1:5000/through --data-urlencode
    'url=https://www.python.org/static/img/python-logo.png' -O -J

Only hosts named in ALLOW are asked, and no address inside your network unless INTERNAL names it:
this is no open proxy.
"""

import os

from flask import Flask, Response, request

from sluiceway.flask import Sluiceway, stream

ALLOW = os.environ.get(
    "ALLOW", "www.python.org"
).split()  # or *.python.org, or files.example.com:8443
INTERNAL = os.environ.get("INTERNAL", "").split()  # such as 10.1.2.0/24

app = Flask(__name__)
Sluiceway(app)  # what goes wrong is answered in words, with the status that says whose fault it was


@app.get("/through")
def through() -> Response:
    return stream(request.args["url"], allow=ALLOW, internal=INTERNAL)
