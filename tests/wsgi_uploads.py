"""Uploads in every framing to a WSGI server, and the table of docs/servers.md."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from fix_wsgi import SERVERS
from raw_http import LAST_CHUNK, Answer, Wire, chunk, form_body, form_head, head

__all__ = [
    "BEGIN",
    "BODIES",
    "COLUMNS",
    "END",
    "MIB",
    "PAGE",
    "TO_WRITE",
    "Table",
    "Upload",
]


PAGE = Path(__file__).parents[1] / "docs" / "servers.md"


BEGIN, END = "<!-- written by tests/journeys/test_wsgi_servers.py -->\n", "<!-- end -->\n"


TO_WRITE = (
    "run `WRITE_TABLE=1 make test ARGS=tests/journeys/test_wsgi_servers.py`, and look at the diff"
)


MIB = 1 << 20


BODIES = ["raw", "form", "chunked raw", "chunked form"]


COLUMNS = [
    *BODIES,
    "cut, with length",
    "cut, chunked",
    "temporary files",
    "memory",
    "early refusal",
]


@dataclass
class Upload:
    """A body of one of BODIES with `size` bytes of file, sent to the view that relays it.

    `target` is another view.
    """

    wire: Wire
    body: str
    size: int
    target: str = ""
    sent: int = field(default=0, init=False)  # of the file

    def begin(self) -> None:
        form, chunked = self.body.endswith("form"), self.body.startswith("chunked")
        target = self.target or ("/relay" if form else "/relay-raw")
        begun, self._end = (
            form_body(("title", None, b"T"), ("file", "a.bin", b"@@")).split(b"@@")
            if form
            else (b"", b"")
        )
        length = len(begun) + self.size + len(self._end)
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length}"
        start = (
            form_head(None if chunked else length, target=target)
            if form
            else head("POST", target, framing)
        )
        self.wire.send(start + self._framed(begun))

    def send(self, size: int) -> None:
        """Send `size` bytes of the file."""
        while size:
            piece = min(size, MIB)
            self.wire.send(self._framed(bytes(piece)))
            size, self.sent = size - piece, self.sent + piece

    def finish(self) -> Answer:
        """Send the rest of the body. Returns the answer."""
        self.send(self.size - self.sent)
        self.wire.send(
            self._framed(self._end) + (LAST_CHUNK if self.body.startswith("chunked") else b"")
        )
        return self.wire.answer()

    def _framed(self, data: bytes) -> bytes:
        return chunk(data) if data and self.body.startswith("chunked") else data


class Table:
    """The table of the page: cells by server and column."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.before, _, rest = page.read_text("utf-8").partition(BEGIN)
        table, _, self.after = rest.partition(END)
        lines = [
            [cell.strip() for cell in line.strip("|\n").split("|")]
            for line in table.splitlines()
            if line.startswith("|")
        ]
        names = lines[0][1:] if lines else []
        self.cells = {
            (line[0], name): cell
            for line in lines[2:]
            for name, cell in zip(names, line[1:], strict=False)
        }

    def check(self, server: str, column: str, cell: str) -> None:
        """Compare a result with the page, or note it to be written."""
        if "WRITE_TABLE" in os.environ:
            self.cells[server, column] = cell
        else:
            written = self.cells.get((server, column))
            assert cell == written, (
                f"docs/servers.md has {written!r} for {server}, {column}, not {cell!r}: {TO_WRITE}"
            )

    def text(self) -> str:
        rows = [["server", *COLUMNS], ["---"] * (len(COLUMNS) + 1)]
        rows += [
            [server, *(self.cells.get((server, column), "") for column in COLUMNS)]
            for server in SERVERS
        ]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def write(self) -> None:
        self.page.write_text(f"{self.before}{BEGIN}{self.text()}{END}{self.after}", "utf-8")
