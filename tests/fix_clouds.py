"""Fixture `azure`: Azurite from npm emulates Azure's blobs, if `azurite-blob` is on the path.

Google Cloud Storage has no emulator for this: fake-gcs-server 1.x does not take the XML uploads of
obstore.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate

import pytest
import requests

from free_ports import free_port

__all__ = ["Cloud", "azure"]

START_TIMEOUT = 30.0  # seconds
ACCOUNT = "devstoreaccount1"  # Azurite's own, as public as its key
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass
class Cloud:
    """An emulator: the `scheme` of its URLs, and `options` for a store."""

    scheme: str
    options: dict[str, str]
    make: Callable[[str], None]
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count())

    def fresh(self) -> str:
        """The URL of a new bucket."""
        name = f"bucket-{next(self._numbers)}"
        self.make(name)
        return f"{self.scheme}://{name}"


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite-blob is not installed (npm install azurite)")
    port = free_port()
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    folder = tmp_path_factory.mktemp("azure")
    command = [
        program,
        "--blobPort",
        str(port),
        "--location",
        str(folder),
        "--silent",
        "--skipApiVersionCheck",
    ]

    def make(name: str) -> None:
        date, version = formatdate(usegmt=True), "2021-12-02"
        signed_headers = f"x-ms-date:{date}\nx-ms-version:{version}"
        resource = f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        text = "PUT" + "\n" * 12 + f"{signed_headers}\n{resource}"
        digest = hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)
        signature = base64.b64encode(digest).decode()
        headers = {
            "x-ms-date": date,
            "x-ms-version": version,
            "Authorization": f"SharedKey {ACCOUNT}:{signature}",
        }
        requests.put(
            f"{url}/{name}?restype=container", headers=headers, timeout=10
        ).raise_for_status()

    with _running(command, url):
        yield Cloud("az", {"endpoint": url, "account-name": ACCOUNT, "account-key": KEY}, make)


class _running:  # noqa: N801  # used as a verb
    """Run a process for a block, which begins once the process answers."""

    def __init__(self, command: list[str], url: str) -> None:
        self._command, self._url = command, url

    def __enter__(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + START_TIMEOUT
        while True:
            try:
                requests.get(self._url, timeout=5)
                return
            except requests.ConnectionError:
                assert time.monotonic() < end, f"{self._command[0]} did not start"
                assert self._process.poll() is None, f"{self._command[0]} ended"
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
