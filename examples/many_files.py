"""Many files in one form, each hashed and saved while it arrives; the answer lists them.

    gunicorn -k gthread --threads 32 -b 127.0.0.1:5000 many_files:app
    curl -F file=@1.pdf -F file=@2.doc http://127.0.0.1:5000/convert

One file or a thousand, memory stays the same. FOLDER is where files go ("uploads").
"""

import hashlib
import os
import secrets
from pathlib import Path
from tempfile import NamedTemporaryFile

from flask import Flask

from sluiceway.flask import FlaskFile, Sluiceway, request

FOLDER = Path(os.environ.get("FOLDER", "uploads"))
FOLDER.mkdir(exist_ok=True)

app = Flask(__name__)
Sluiceway(app)


@app.post("/convert")
def convert() -> tuple[list[dict[str, object]], int]:
    return [keep(part) for part in request.parts if isinstance(part, FlaskFile)], 201


def keep(file: FlaskFile) -> dict[str, object]:
    key, digest = secrets.token_hex(16), hashlib.sha256()
    with NamedTemporaryFile(dir=FOLDER, prefix=".") as draft:
        for piece in file.chunks():  # as it arrives: the place for your own work on it
            digest.update(piece)
            draft.write(piece)
        draft.flush()
        os.fsync(draft.fileno())
        os.link(draft.name, FOLDER / key)
    return {"key": key, "name": file.filename, "size": file.taken, "sha-256": digest.hexdigest()}
