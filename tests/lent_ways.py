"""How a server under test lends its connections: never, always, or always and back at random bytes.

server = serve(env=lent_env(tmp_path, "random"))
wait until `lent_bytes(server)` …     # what each lending took, from the server's own output
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fix_server import RunningServer
from sluiceway.pipe import lending
from sluiceway.pipe.lending import LentSocket, Receiver

__all__ = ["AS_SERVED", "OFF", "ON", "RANDOM", "WAYS", "lend_here", "lent_bytes", "lent_env"]

OFF, ON, RANDOM = "off", "on", "random"
AS_SERVED = "as served"  # with the numbers that users get
WAYS = (OFF, ON, RANDOM)

SETTINGS = {
    AS_SERVED: "",
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


def lent_env(folder: Path, way: str, more: str = "", seed: int = 1) -> dict[str, str]:
    """The environment of a server that lends in this way; `folder` gets a module for it.

    `more` is Python for that module, which has imported `lending`.
    """
    place = folder / f"lent-{way}"
    place.mkdir(exist_ok=True)
    # python runs sitecustomize before anything else; the server that follows is the real one
    (place / "sitecustomize.py").write_text(
        "import random\nimport sluiceway.pipe.lending as lending\n"
        + SETTINGS[way].replace("{seed}", str(seed))
        + REPORT
        + more
    )
    return {
        "PYTHONPATH": os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    }


def lend_here(patch: pytest.MonkeyPatch, way: str, seed: int = 1) -> list[int]:
    """Lend in this way in this process. Returns a list that gets the bytes of each lending."""
    chance, took = random.Random(seed), list[int]()
    made, hand_back = lending.LentSocket.__init__, lending.LentSocket.hand_back
    patch.setattr(lending, "LEAST", 1 << 60 if way == OFF else 1)
    patch.setattr(lending, "FAST_CHUNK", 1)
    patch.setattr(lending, "APART", 0)

    def some(self: LentSocket, sock: Receiver, most: int, back: Callable[[int], None]) -> None:
        made(self, sock, min(most, chance.randint(1, 3 << 20)) if way == RANDOM else most, back)

    def noted(self: LentSocket) -> None:
        if self._sock.fileno() >= 0:
            took.append(self.taken)
        hand_back(self)

    patch.setattr(LentSocket, "__init__", some)
    patch.setattr(LentSocket, "hand_back", noted)
    return took


def lent_bytes(server: RunningServer) -> list[int]:
    """Bytes that each lending took so far."""
    return [int(size) for size in re.findall(r"^lent (\d+)$", server.log(), re.MULTILINE)]
