"""The group `container`: uWSGI on the machine and in the image of deploy/, in turn in each round.

The articles timed uWSGI in a container, and the container got the blame. Both run the same app on
the same disk. The image is built here; without root, buildah or debootstrap the group is left out.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from bench.contenders import PEERS
from bench.image import Images, missing_for_images
from bench.rounds import Bench
from bench.sources_peers import CELLS, UWSGI, Cell
from bench.sources_table import table_group
from bench.stored import MIB

__all__ = ["container_group"]

HOST, INSIDE = "uWSGI", "uWSGI in a container"
SIZE = 256 * MIB  # as in the articles
# A mount namespace, then the image's files as the root. The folders of the run keep their paths.
ENTER = """
root=$1; shift
for folder in "$PWD" "$1"; do mkdir -p "$root$folder"; mount --bind "$folder" "$root$folder"; done
shift
mount --bind /dev "$root/dev"; mount -t proc proc "$root/proc"
exec chroot "$root" "$@"
"""


def container_group(bench: Bench) -> tuple[str, dict[str, object], list[str]]:
    """The table as Markdown, every single value, and what failed."""
    if reason := missing_for_images():
        return f"Left out: {reason}.\n", {}, []
    with tempfile.TemporaryDirectory(prefix="sluiceway-images-", dir=bench.work) as folder:
        images = Images(Path(folder))
        try:
            bench.say("  building the image")
            files = images.build("flask.Dockerfile", "uwsgi").files
            host = [cell for cell in CELLS if cell.deployment == HOST]
            cells = [one for cell in host for one in (cell, _inside(cell, files))]
            return table_group(bench, [min(SIZE, bench.size)], cells)
        finally:
            images.remove()


def _inside(cell: Cell, files: Path) -> Cell:
    """The same cell with its server in the image."""
    words = ("/opt/app/bin/pyuwsgi", *cell.contender.command[1:])
    assert cell.contender.command[: len(UWSGI)] == UWSGI
    enter = ("unshare", "--mount", "sh", "-ec", ENTER, "sh", str(files), str(PEERS))
    contender = replace(cell.contender, name=f"{cell.method}, {INSIDE}", command=(*enter, *words))
    return Cell(cell.method, INSIDE, contender)
