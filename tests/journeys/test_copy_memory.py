"""Constant memory of the client: a large copy has the peak of a small one."""

from __future__ import annotations

from pathlib import Path

import pytest

from copy_peak import peak_of_copy
from fix_server import RunningServer, Serve
from fix_taking import TORTURE

SMALL, LARGE = 10 << 20, (512 if TORTURE else 48) << 20  # bytes
MOST_GROWTH = 8 << 10  # KiB between their peaks; reading a body whole would be 38 MiB


def sized(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize(
    "way", ["put", "form", "pipe", "pipe with size", "download", "server to server"]
)
def test_memory_does_not_grow_with_the_file(serve: Serve, tmp_path: Path, way: str) -> None:
    """10 MiB and 48 MiB (512 in the long proofs), each way, as the kernel counted them."""
    server = serve()
    peaks = [copied(server, tmp_path, way, size) for size in (SMALL, LARGE)]

    assert peaks[1] - peaks[0] <= MOST_GROWTH, peaks


def copied(server: RunningServer, folder: Path, way: str, size: int) -> int:
    source = sized(folder / str(size), size)
    if way == "put":
        return peak_of_copy(source, f"{server.url}/files/{size}")
    if way == "form":
        return peak_of_copy(source, f"{server.url}/files", "--form", "id=42")
    if way.startswith("pipe"):
        options = ["--size", str(size)] if way == "pipe with size" else []
        return peak_of_copy("-", f"{server.url}/files/{size}", *options, stdin=source)
    server.root.mkdir(exist_ok=True)
    sized(server.root / str(size), size)
    if way == "server to server":
        return peak_of_copy(f"{server.url}/files/{size}", f"{server.url}/files/copy/{size}")
    return peak_of_copy(f"{server.url}/files/{size}", folder / "got", "--force")
