"""What `sluiceway copy` says of options, URLs and tokens that cannot be, and what it loads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli.test_copy import DATA, DEADLINE, run, taking
from rude_peer import Peer
from sluiceway.cli.main import COMMANDS


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "f.bin"
    path.write_bytes(DATA)
    return path


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split("\n")[-2].split()}


@pytest.mark.parametrize(
    "code",
    [
        "from sluiceway.cli.main import main\nmain(['copy', {0!r}, {1!r}], standalone_mode=False)",
        "import sluiceway\nsluiceway.copy({0!r}, {1!r})",
    ],
    ids=["command", "function"],
)
def test_copy_loads_no_server(source: Path, code: str) -> None:
    """A copy to a server loads only the client, and the bar only on a terminal."""
    with Peer(taking) as peer:
        loaded = modules_after(code.format(str(source), f"{peer.url}/a"))

    assert peer.seen[0].body == DATA
    assert "aiohttp" in loaded
    assert not {"httptools", "rich", "starlette", "uvicorn", "uvloop"} & loaded


def test_help_loads_what_it_shows() -> None:
    """`sluiceway --help` loads no command, `copy --help` no HTTP library; to name the function
    costs nothing."""
    code = (
        "import sluiceway, sys; sluiceway.copy\n"
        "from sluiceway.cli.main import COMMANDS, main\n"
        "main(['--help'], standalone_mode=False)\n"
        "assert not {where.partition(':')[0] for where, _ in COMMANDS.values()} & {*sys.modules}\n"
        "main(['copy', '--help'], standalone_mode=False)"
    )
    loaded = modules_after(code)

    assert "click" in loaded
    assert not {"aiohttp", "httptools", "rich", "starlette", "uvicorn", "uvloop"} & loaded


def test_help_says_what_each_command_does() -> None:
    """In a whole sentence, on one line of a narrow terminal."""
    line = [sys.executable, "-m", "sluiceway", "--help"]
    shown = subprocess.run(
        line, capture_output=True, text=True, check=True, timeout=DEADLINE
    ).stdout

    for name, (_, what) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(what)}$", shown, re.MULTILINE), shown


@pytest.mark.parametrize(
    ("option", "suggested"), [("--recursiv", "Did you mean '--recursive'?"), ("--bogus", "")]
)
def test_only_a_similar_option_is_suggested(source: Path, option: str, suggested: str) -> None:
    done = run(source, "http://127.0.0.1:1/a", option, stdin=b"")

    assert done.code == 2
    assert done.err.rstrip().endswith(suggested or f"No such option '{option}'.")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("s3://", "s3:// names no bucket; write s3://BUCKET/KEY"),
        ("gs:///key", "gs:// names no bucket; write gs://BUCKET/KEY"),
        ("az://", "az:// names no container; write az://CONTAINER/KEY"),
        ("postgresql://", "write postgresql://HOST/DATABASE/KEY"),
        ("ftp://host/x", "ftp:// is not supported; use https://, s3://"),
    ],
)
def test_an_incomplete_or_unknown_url_is_refused_with_advice(
    source: Path, url: str, advice: str
) -> None:
    done = run(source, url, stdin=b"")

    assert done.code == 2
    assert advice in done.err


@pytest.mark.parametrize("name", ["SLUICEWAY_TOKEN", "SLUICEWAY_FROM_TOKEN"])
def test_a_token_that_is_set_and_empty_is_an_error(source: Path, name: str) -> None:
    """The command that should have set it failed, and nothing else would show that."""
    with Peer(taking) as peer:
        done = run(source, f"{peer.url}/a", stdin=b"", **{name: ""})

    assert done.code == 2
    assert name in done.err
    assert peer.seen == []
