"""Clients that upload until the server dies, and remember what they sent and what was acknowledged.

with Witness(server, seed) as witness:
    ...                               # kill the server, or cut its power
witness.check(root)                   # before and after a restart
"""

from __future__ import annotations

import hashlib
import random
import threading
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from fix_server import RunningServer
from fix_taking import eventually

__all__ = ["Acknowledged", "Witness"]

SMALL_CLIENTS = 6
SIZES = [0, 1, 100, 5_000, 65_536, 70_001, 1_000_000, 2_100_000]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One entry of a 200 or 201 response."""

    key: str
    filename: str
    sha256: str


class Witness:
    """Clients at once: new keys by PUT, one key repeatedly, forms of several files, and several
    clients with small files, which the server publishes together.
    """

    def __init__(self, server: RunningServer, seed: int) -> None:
        self.server = server
        self.acknowledged: list[Acknowledged] = []
        self.sent: dict[str, str] = {}  # filename -> sha-256 of every file that was begun
        self.versions: list[str] = []  # sha-256 of what was sent to the one key, in order
        self.last_version = -1  # the newest of them that was acknowledged
        self._chance = random.Random(seed)
        self._run = f"{seed:x}"
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._until_the_end, args=(act,))
            for act in (self._put, self._replace, self._form, *self._small_clients())
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.acknowledged, "a first upload is acknowledged")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def check(self, root: Path) -> None:
        """Nothing acknowledged is missing or changed, and every visible object is complete."""
        seen = {
            str(path.relative_to(root)): path
            for path in root.rglob("*")
            if path.is_file() and ".sluiceway" not in path.parts
        }

        @cache  # what earlier witnesses left is not read again after each of hundreds of kills
        def sha(key: str) -> str:
            return hashlib.sha256(seen[key].read_bytes()).hexdigest()

        for entry in self.acknowledged:
            assert entry.key in seen, f"acknowledged, and missing: {entry}"
            assert sha(entry.key) == entry.sha256, f"acknowledged, and changed: {entry}"
        for key in seen:
            if key == f"{self._run}-same":
                assert sha(key) in self.versions[max(self.last_version, 0) :], (
                    "an older version came back, or a mixture"
                )
            elif (name := key.rpartition("/")[2]) in self.sent:
                assert sha(key) == self.sent[name], f"visible, and not complete: {key}"
        if self.last_version >= 0:
            assert f"{self._run}-same" in seen

    def check_restarted(self, server: RunningServer) -> None:
        """The restarted server swept the drafts and knows name and digest of every acknowledged
        file.
        """
        eventually(lambda: server.drafts() == [], "the drafts of the dead process are swept")
        for entry in self.acknowledged:
            response = requests.get(
                f"{server.url}/files", params={"prefix": entry.key, "limit": "1"}, timeout=10
            ).json()

            assert [(e["key"], e["filename"], e["sha-256"]) for e in response["files"]] == [
                (entry.key, entry.filename, entry.sha256)
            ]

    def _until_the_end(self, act: Any) -> None:
        number = 0
        while not self._stop.is_set():
            try:
                act(number)
            except (requests.RequestException, ValueError):
                return  # the server is gone; unacknowledged objects may be there or not
            number += 1

    def _data(self, sizes: list[int] = SIZES) -> bytes:
        with self._lock:
            return self._chance.randbytes(self._chance.choice(sizes))

    def _small_clients(self) -> list[Any]:
        return [partial(self._small, client) for client in range(SMALL_CLIENTS)]

    def _small(self, client: int, number: int) -> None:
        key, data = f"{self._run}-small-{client}-{number}", self._data(SIZES[:5])
        self.sent[key] = hashlib.sha256(data).hexdigest()
        url = f"{self.server.url}/files/small/{number % 3}/{key}"
        self._note(requests.put(url, data=data, timeout=30))

    def _put(self, number: int) -> None:
        key, data = f"{self._run}-put-{number}", self._data()
        self.sent[key] = hashlib.sha256(data).hexdigest()
        body: Any = data if number % 2 else iter([data[:50_000], data[50_000:]])
        self._note(requests.put(f"{self.server.url}/files/put/{key}", data=body, timeout=30))

    def _replace(self, number: int) -> None:
        data = self._data() + str(number).encode()
        self.versions.append(hashlib.sha256(data).hexdigest())
        response = requests.put(f"{self.server.url}/files/{self._run}-same", data=data, timeout=30)
        if response.status_code in (200, 201):
            self.last_version = number

    def _form(self, number: int) -> None:
        files = {f"{self._run}-form-{number}-{part}": self._data() for part in range(3)}
        self.sent.update({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
        parts = [("f", (name, data)) for name, data in files.items()]
        self._note(
            requests.post(f"{self.server.url}/files", files=parts, data={"x": "y"}, timeout=30)
        )

    def _note(self, response: requests.Response) -> None:
        if response.status_code in (200, 201):
            entries = response.json()["files"]  # complete: a cut response acknowledges nothing
            self.acknowledged += [
                Acknowledged(entry["key"], entry["filename"], entry["sha-256"]) for entry in entries
            ]
