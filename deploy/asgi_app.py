"""The service as an ASGI app: what granian.sh runs. DESTINATION is a folder or a URL, TOKEN what clients must carry."""

import os

from sluiceway import Sluiceway

app = Sluiceway(to=os.environ.get("DESTINATION", "./uploads"), token=os.environ.get("TOKEN"))
