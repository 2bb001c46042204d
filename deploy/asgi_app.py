"""The service as an ASGI app: what granian.sh runs. DESTINATION is a folder or a URL.

TOKEN_FILE names a file with the token that clients must send, or TOKEN holds the token. Without
either the app does not start.
"""

import os

from sluiceway import Sluiceway

if not (os.environ.get("TOKEN_FILE") or os.environ.get("TOKEN")):
    raise SystemExit(
        "set TOKEN_FILE (a file that holds the token), or TOKEN; without a token everybody could "
        "upload, read and delete"
    )

app = Sluiceway(
    to=os.environ.get("DESTINATION", "./uploads"),
    token_file=os.environ.get("TOKEN_FILE"),
    token=None if os.environ.get("TOKEN_FILE") else os.environ.get("TOKEN"),
)
