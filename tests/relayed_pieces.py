"""A gateway in front of a server of this project that takes pieces, and a client of tus.

pair = start_pair(folder, "tus")        # or "ietf": what the gateway speaks to its backend
upload = pair.tus.create(10)
pair.restart_gateway()                  # killed; pair.url(upload) is the upload's URL from now on
"""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import requests

from fix_server import RunningServer, start_server
from tus_by_hand import Tus

__all__ = ["PARTIAL", "Pair", "start_gateway", "start_pair"]

PARTIAL = "application/partial-upload"


@dataclass
class Pair:
    """A gateway, its backend, and a client of tus at the gateway."""

    folder: Path
    dialect: str
    backend: RunningServer
    gateway: RunningServer
    tus: Tus
    options: tuple[str, ...] = ()

    def stored(self) -> dict[str, bytes]:
        """By the file's name; what no earlier test has stored."""
        root = self.backend.root
        return {Path(key).name: (root / key).read_bytes() for key in self.backend.stored()}

    def restart_gateway(self) -> None:
        """Kill it, and start another one with its ledger, on another port."""
        self.kill_gateway()
        self.gateway = start_gateway(self.folder, self.backend.url, self.dialect, *self.options)
        self.tus = Tus(self.gateway.url)

    def kill_gateway(self) -> None:
        self.gateway.stop(signal.SIGKILL)
        self.tus.session.close()

    def restart_backend(self) -> None:
        """Kill it, and start it again on its port."""
        port = self.backend.port
        self.backend.stop(signal.SIGKILL)
        self.backend = start_server(self.backend.root, "--port", str(port))

    def url(self, upload: str) -> str:
        """An upload's URL at the gateway that runs now."""
        return re.sub(r"^http://[^/]+", self.gateway.url, upload)

    def drafts(self) -> list[Path]:
        """Of uploads that the backend has not ended."""
        return list((self.backend.root / ".sluiceway" / "lasting").glob("*"))

    def url_at_backend(self) -> str:
        """Of the newest upload; no response of the gateway has it."""
        (ledger,) = (self.folder / "state").rglob("uploads.sqlite")
        with closing(sqlite3.connect(ledger)) as database:
            rows = database.execute("SELECT draft FROM uploads ORDER BY created DESC LIMIT 1")
            return str(json.loads(rows.fetchone()[0])["url"])

    def change_record(self, **values: str) -> None:
        """Write into the row of the newest upload of a gateway that does not run."""
        (ledger,) = (self.folder / "state").rglob("uploads.sqlite")
        newest = "(SELECT id FROM uploads ORDER BY created DESC LIMIT 1)"
        with closing(sqlite3.connect(ledger)) as database, database:
            for name, value in values.items():
                database.execute(f"UPDATE uploads SET {name} = ? WHERE id = {newest}", (value,))

    def append_at_backend(self, data: bytes, stop: int) -> None:
        """Bring the newest upload there to the offset `stop`, behind the gateway's back. With all
        of `data` it is complete."""
        url = self.url_at_backend()
        if self.dialect == "tus":
            client = Tus(self.backend.url)
            start = client.offset(url)
            assert client.patch(url, start, data[start:stop]).status_code == 204
            client.session.close()
            return
        start = int(requests.head(url, timeout=20).headers["Upload-Offset"])
        headers = {"Upload-Offset": str(start), "Upload-Complete": "?0", "Content-Type": PARTIAL}
        if stop == len(data):
            headers["Upload-Complete"] = "?1"
        appended = requests.patch(url, data[start:stop], headers=headers, timeout=20)
        assert appended.status_code in (201, 204)

    def stop(self) -> None:
        self.tus.session.close()
        self.gateway.stop()
        self.backend.stop()


def start_gateway(
    folder: Path, backend: str, dialect: str, *options: str, env: dict[str, str] | None = None
) -> RunningServer:
    return start_server(
        folder / "none",
        "--state",
        str(folder / "state"),
        "--relay-resume",
        dialect,
        *options,
        to=f"{backend}/files",
        env=env,
    )


def start_pair(
    folder: Path, dialect: str, *options: str, env: dict[str, str] | None = None
) -> Pair:
    """`env` is the gateway's, until it is restarted."""
    backend = start_server(folder / "backend")
    gateway = start_gateway(folder, backend.url, dialect, *options, env=env)
    return Pair(folder, dialect, backend, gateway, Tus(gateway.url), options)
