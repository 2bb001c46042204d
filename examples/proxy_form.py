"""A form goes on to another API as a form, while it still arrives: fields, then the file.

Nothing is saved or held.

    BACKEND=http://127.0.0.1:9000/books gunicorn -k gthread --threads 32 -b 127.0.0.1:5000
    proxy_form:app curl -F title=Emma -F file=@emma.epub http://127.0.0.1:5000/proxy

Fields come before the file, as in the line above. The backend's status and text are the answer.
"""

import os

import requests
from flask import Flask

import sluiceway
from sluiceway.flask import Sluiceway, request

BACKEND = os.environ.get("BACKEND", "http://127.0.0.1:9000/books")

app = Flask(__name__)
Sluiceway(app)


@app.post("/proxy")
def proxy() -> tuple[str, int, dict[str, str]]:
    file = request.files["file"]  # is the socket: no byte of it was read
    fields = request.first_fields.items(multi=True)  # request.form has all: that needs the file
    form = sluiceway.Form(fields).file("file", file)
    answer = requests.post(
        BACKEND, data=form, headers=form.headers, timeout=600
    )  # seconds without a word
    return (
        answer.text,
        answer.status_code,
        {"Content-Type": answer.headers.get("Content-Type", "text/plain")},
    )


@app.errorhandler(requests.RequestException)
def unreachable(_: requests.RequestException) -> tuple[str, int]:
    return "The backend cannot be reached, or hung up; send it again later\n", 502
