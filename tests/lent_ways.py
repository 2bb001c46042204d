"""How a server under test lends its connections: never, always, or always and back at random bytes.

server = serve(env=lent_env(tmp_path, "random"))
wait until `lent_bytes(server)` …     # what each lending took, from the server's own output
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from fix_server import RunningServer

__all__ = ["OFF", "ON", "RANDOM", "WAYS", "lent_bytes", "lent_env"]

OFF, ON, RANDOM = "off", "on", "random"
WAYS = (OFF, ON, RANDOM)

SETTINGS = {
    OFF: "lending.LEAST = 1 << 60",
    # every body, however small, as soon as one chunk of it came
    ON: "lending.LEAST = lending.FAST_CHUNK = 1; lending.APART = 0",
    RANDOM: """
lending.LEAST = lending.FAST_CHUNK = 1; lending.APART = 0
chance = random.Random({seed})
made = lending.LentSocket.__init__
def some(self, sock, most, handed_back):
    made(self, sock, min(most, chance.randint(1, 3 << 20)), handed_back)
lending.LentSocket.__init__ = some
""",
}
REPORT = """
hand_back = lending.LentSocket.hand_back
def report(self):
    if self._sock.fileno() >= 0:
        print("lent", self.taken, flush=True)
    hand_back(self)
lending.LentSocket.hand_back = report
"""


def lent_env(folder: Path, way: str, seed: int = 1) -> dict[str, str]:
    """The environment of a server that lends in this way; `folder` gets a module for it."""
    place = folder / f"lent-{way}"
    place.mkdir(exist_ok=True)
    # python runs sitecustomize before anything else; the server that follows is the real one
    (place / "sitecustomize.py").write_text(
        "import random\nimport sluiceway.pipe.lending as lending\n"
        + (SETTINGS[way].format(seed=seed) if way == RANDOM else SETTINGS[way])
        + REPORT
    )
    return {
        "PYTHONPATH": os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    }


def lent_bytes(server: RunningServer) -> list[int]:
    """Bytes that each lending took so far."""
    return [int(size) for size in re.findall(r"^lent (\d+)$", server.log(), re.MULTILINE)]
