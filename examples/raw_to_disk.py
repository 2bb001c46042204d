"""Stores a raw body of any size on disk, in constant memory; it appears only when it is complete.

    gunicorn -k gthread --threads 32 -b 127.0.0.1:5000 raw_to_disk:app
    curl -T big.iso http://127.0.0.1:5000/upload/big.iso

The client's name is returned and never becomes a path. FOLDER is where files go ("uploads").
"""

import hashlib
import os
import secrets
from pathlib import Path
from tempfile import NamedTemporaryFile

from flask import Flask, request

from sluiceway.flask import Sluiceway

FOLDER = Path(os.environ.get("FOLDER", "uploads"))
FOLDER.mkdir(exist_ok=True)

app = Flask(__name__)
Sluiceway(app)  # a body that was cut off raises BodyCut and is answered with 400


@app.put("/upload/<name>")
@app.post("/upload/<name>")
def upload(name: str) -> tuple[dict[str, object], int]:
    key, size, digest = secrets.token_hex(16), 0, hashlib.sha256()
    with NamedTemporaryFile(dir=FOLDER, prefix=".") as draft:  # removed at the end
        while piece := request.stream.read(256 << 10):
            size += draft.write(piece)
            digest.update(piece)
        draft.flush()
        os.fsync(draft.fileno())
        os.link(draft.name, FOLDER / key)  # only when complete; replaces no file
    folder = os.open(FOLDER, os.O_RDONLY)
    os.fsync(folder)  # so that the name survives a power cut
    os.close(folder)
    return {"key": key, "name": name, "size": size, "sha-256": digest.hexdigest()}, 201
