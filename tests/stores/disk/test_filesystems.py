"""File systems without extended attributes, O_DIRECT or hard links, and full ones."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fix_filesystems import Mount, fill
from sluiceway.errors import NoSpace
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Replace
from sluiceway.stores.disk.drafts.draft import DiskDraft
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import pattern, read, store_bytes
from stores.disk.test_store import TestDiskStore as DiskSuite

MIB = 1 << 20


@pytest.mark.root
class TestDiskStoreOnRamfs(DiskSuite):
    """ramfs has no extended attributes and no O_DIRECT: sidecars, and writes through the cache."""

    variant, many = True, 120
    large = 128 << 20  # it is memory

    @pytest.fixture(autouse=True)
    def mounted(self, mount: Mount, tmp_path: Path) -> None:
        mount("ramfs", tmp_path)
        with pytest.raises(OSError), open(tmp_path / "probe", "wb") as file:
            os.setxattr(file.fileno(), "user.probe", b"1")
        (tmp_path / "probe").unlink()

    async def test_sidecars_are_deleted_with_their_objects(self, tmp_path: Path) -> None:
        """Deleted, refused and replaced objects leave no sidecar."""
        store = await self.make_store(tmp_path)
        await store_bytes(store, "a", b"1", Metadata("a.txt"))
        await store_bytes(store, "a", b"2", Metadata("b.txt"), Replace(allowed=True))
        with pytest.raises(Exception, match="already"):
            await store_bytes(store, "a", b"3", Metadata("c.txt"))
        notes = tmp_path / ".sluiceway" / "about"

        assert len(os.listdir(notes)) == 1
        await store.delete("a")
        assert os.listdir(notes) == []
        await store.aclose()


NO_LINKS, NO_ATTRIBUTES, NO_FALLOCATE = FAULTS = (
    "linkat:error=EPERM",
    "fsetxattr:error=EOPNOTSUPP",
    "fallocate:error=EOPNOTSUPP",
)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(FAULTS, id="none-of-three"),
        pytest.param([NO_LINKS], id="no-hard-links", marks=pytest.mark.torture),
        pytest.param([NO_ATTRIBUTES], id="no-attributes", marks=pytest.mark.torture),
        pytest.param([NO_FALLOCATE], id="no-fallocate", marks=pytest.mark.torture),
    ],
)
def test_the_suite_passes_without_system_calls(tmp_path: Path, faults: Sequence[str]) -> None:
    """FAT has no hard links, some network mounts have no attributes or no fallocate."""
    calls = [fault.partition(":")[0] for fault in faults]
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    folder = Path(__file__).parent
    chosen = "taken or wins or known or edge or nothing or cancelled or announced or below"
    run = subprocess.run(
        [
            *(
                "strace",
                "-f",
                "--seccomp-bpf",
                "-qqq",
                "-o",
                str(tmp_path / "trace"),
                "-e",
                f"trace={','.join(calls)}",  # the others run at full speed
                *(word for fault in faults for word in ("-e", f"inject={fault}")),
            ),
            *(
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "--noconftest",  # which imports what other tests need
                "--basetemp",
                str(tmp_path / "temp"),
            ),
            *(
                "-k",
                f"TestDiskStore and not Hardly and not taken_up_at and ({chosen})",
                str(folder / "test_store.py"),
            ),
        ],
        cwd=folder.parents[2],
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    traced = (tmp_path / "trace").read_text(errors="replace").splitlines()
    for call in calls:
        assert any(f"{call}(" in line and "INJECTED" in line for line in traced), call


@pytest.mark.root
async def test_a_full_disk_refuses_before_the_body_comes(mount: Mount, tmp_path: Path) -> None:
    """With a known length a store without room refuses at once, and reserves nothing."""
    root = mount("tmpfs", tmp_path / "small", "size=8m")
    store = DiskStore(str(root), Budget(64 << 20))
    with pytest.raises(NoSpace):
        await store.draft("too-large", 9 * MIB)

    assert os.listdir(root / ".sluiceway" / "drafts") == []
    await store_bytes(store, "fits", pattern(6 * MIB))
    assert await read(store, "fits") == pattern(6 * MIB)
    await store.aclose()


@pytest.mark.root
@pytest.mark.parametrize("chunk", [1000, 300_000, 3 * MIB])
async def test_a_disk_that_becomes_full_ends_the_upload_and_gets_its_room_back(
    mount: Mount, tmp_path: Path, chunk: int
) -> None:
    """Every way of writing raises NoSpace; the draft is removed, and a smaller upload succeeds."""
    root = mount("tmpfs", tmp_path / "small", "size=8m")
    budget = Budget(64 << 20)
    store = DiskStore(str(root), budget)
    draft = await store.draft("grows", None)
    with pytest.raises(NoSpace):  # noqa: PT012  # any of the writes may raise, or the sync
        for at in range(0, 12 * MIB, chunk):
            await draft.write(pattern(chunk, at % MIB))
        await draft.sync()
    await draft.discard()

    assert os.listdir(root / ".sluiceway" / "drafts") == []
    assert budget.used == 0
    await store_bytes(store, "fits", pattern(6 * MIB))
    await store.aclose()


@pytest.mark.root
async def test_bytes_lost_by_a_write_in_the_background_are_never_published(
    mount: Mount, tmp_path: Path
) -> None:
    """An idle draft is written in the background. When that fails, the draft is lost, even if there
    is room again later.
    """
    root = mount("tmpfs", tmp_path / "small", "size=8m")
    store = DiskStore(str(root), Budget(64 << 20))
    draft = await store.draft("slow", None)
    assert isinstance(draft, DiskDraft)
    await draft.write(pattern(10_000))
    fill(root)
    for _ in range(300):  # drafts are looked at twice a second
        await asyncio.sleep(0.1)
        if draft.failure:
            break
    (root / "filler").unlink()

    with pytest.raises(NoSpace):  # noqa: PT012  # the first call raises
        await draft.write(pattern(10_000, 10_000))
        await draft.publish("torn", Metadata(filename=""))
    await draft.discard()
    assert (await store.list()).entries == []
    await store.aclose()
