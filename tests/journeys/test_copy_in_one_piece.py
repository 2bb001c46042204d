"""What `copy` says where an object goes in one piece, or begins anew: once, and with the reason."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sluiceway
from fix_server import RunningServer, start_server
from fix_taking import noise
from rude_peer import Exchange, Peer
from sluiceway.errors import SluiceError

pytestmark = pytest.mark.usefixtures("state")

MIB = 1 << 20
DATA = noise(9 * MIB + 321)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """It has a large file, `big/a.bin`, and another one."""
    root = tmp_path_factory.mktemp("server") / "root"
    (root / "big").mkdir(parents=True)
    for name in ("a.bin", "b.bin"):
        (root / "big" / name).write_bytes(DATA)
    running = start_server(root)
    yield running
    running.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two large files and a small one."""
    path = tmp_path / "from"
    path.mkdir()
    for name in ("a.bin", "b.bin"):
        (path / name).write_bytes(DATA)
    (path / "small").write_bytes(b"small")
    return path


def said(notes: list[str], words: str) -> bool:
    """Whether one note says so, and no other one speaks of pieces."""
    found = [note for note in notes if "in one piece" in note]
    return len(found) == 1 and words in found[0]


def copied(source: object, target: object, **options: object) -> list[str]:
    """The notes of a copy."""
    notes: list[str] = []
    sluiceway.copy(
        source,  # type: ignore[arg-type]
        target,  # type: ignore[arg-type]
        parallel=3,
        on_progress=lambda now: notes.append(now.note),
        **options,  # type: ignore[arg-type]
    )
    return notes


def many_copied(source: object, target: object, **options: object) -> list[str]:
    notes: list[str] = []
    report = sluiceway.copy_all(
        source,  # type: ignore[arg-type]
        target,  # type: ignore[arg-type]
        parallel=3,
        on_progress=lambda now: notes.append(now.note),
        **options,  # type: ignore[arg-type]
    )
    assert report.ok, report
    return notes


def test_a_database_and_a_path_take_one_piece(folder: Path, tmp_path: Path) -> None:
    file = folder / "a.bin"
    assert said(copied(file, f"sqlite:///{tmp_path}/files.db/a.bin"), "this destination takes one")
    assert said(many_copied(folder, f"sqlite:///{tmp_path}/f.db/"), "this destination takes one")
    assert said(
        copied(f"sqlite:///{tmp_path}/files.db/a.bin", tmp_path / "to.bin"), "only a single"
    )
    small = copied(folder / "small", f"sqlite:///{tmp_path}/files.db/small")
    assert not any("piece" in note for note in small)


def test_many_files_of_a_server_come_in_one_piece_each(
    server: RunningServer, tmp_path: Path
) -> None:
    notes = many_copied(f"{server.url}/files/big/", tmp_path / "to")
    assert said(notes, "only a single file from a server comes here in parts")


def test_standard_output_takes_one_piece(server: RunningServer) -> None:
    words = (sys.executable, "-m", "sluiceway", "copy", "--parallel", "3")
    done = subprocess.run(
        [*words, f"{server.url}/files/big/a.bin", "-"], capture_output=True, timeout=60, check=True
    )
    assert done.stdout == DATA
    assert said(done.stderr.decode().splitlines(), "takes bytes in order")


def test_a_server_without_an_offer_gets_one_piece(folder: Path) -> None:
    """A resumable upload is offered by none, or was not wanted, or cannot be of this source."""

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(201 if exchange.method in ("PUT", "POST") else 405)

    with Peer(act) as peer:
        url = f"{peer.url}/x"
        assert said(copied(folder / "a.bin", url), "offers no resumable uploads")
        assert said(many_copied(folder, f"{peer.url}/d/"), "offers no resumable uploads")
        assert said(copied(folder / "a.bin", url, resume=False), "--no-resume")
        form = copied(folder / "a.bin", f"{peer.url}/files", form={"a": "b"})
        assert said(form, "a form with fields")
        assert said(copied(iter([DATA]), url), "its length is not known")
        assert said(copied(iter([DATA]), url, size=len(DATA)), "read only once")


def test_a_place_that_keeps_nothing_begins_anew_in_words(
    folder: Path, tmp_path: Path, state: Path
) -> None:
    """Once something stopped, and never again after an end. Without bookmarks nothing is said."""
    file = folder / "a.bin"
    (tmp_path / "place").mkdir()
    place = f"fsspec+file://{tmp_path}/place/a.bin"

    def stop(now: sluiceway.Progress) -> None:
        if now.done:
            raise SluiceError("enough")

    def notes_of() -> str:
        notes: list[str] = []
        sluiceway.copy(file, place, force=True, on_progress=lambda n: notes.append(n.note))
        return "\n".join(notes)

    with pytest.raises(SluiceError, match="enough"):
        sluiceway.copy(file, place, limit_rate="40MiB", on_progress=stop)
    assert len(list(state.glob("sluiceway/uploads/*"))) == 1
    assert "kept nothing of it; it begins anew" in notes_of()
    assert list(state.glob("sluiceway/uploads/*")) == []
    assert "anew" not in notes_of()
    with pytest.raises(SluiceError, match="enough"):
        sluiceway.copy(file, place, force=True, resume=False, limit_rate="40MiB", on_progress=stop)
    assert "anew" not in notes_of()
