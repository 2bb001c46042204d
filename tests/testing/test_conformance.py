"""The black-box suite: it finds the faults of another server, and says what it cannot ask."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fix_npm import npm_package
from fix_postgres import Database
from fix_s3 import Objects
from fix_server import Serve, start_server
from sluiceway.testing.conformance.__main__ import RESUMABLE_CASES, TUS_CASES, main

# What @tus/server 2.4.5 does not keep, by our reading of the open points, too.
OTHERS_FAULTS = {
    "tus-core-04",  # another version gets 400, not 412
    "tus-core-05",
    "tus-core-12",  # another Content-Type gets 400, not 415
    "tus-core-13",  # no Upload-Offset gets 403, not 400
    "tus-core-15",  # 409 says no offset
    "tus-core-22",  # X-HTTP-Method-Override is not known
    "tus-core-28",  # a hanging PATCH is waited for
    "tus-core-30",  # another method gets 404, not 405
    "tus-creation-07",  # HEAD changes the text of Upload-Metadata
}
# It ends now and then when a body goes on behind its response; then a case loses its server.
MOST_LOST = 6  # cases
LOST = ("no response", "no whole response", "Connection", "the server closed", "BrokenPipe")


class OtherServer:
    """@tus/server, started again on its port whenever it ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        script = Path(__file__).parents[1] / "npm" / "tus_server.mjs"
        self._command = ["node", str(script), str(folder)]
        self._process = self._start("0")
        assert self._process.stdout is not None
        self.port = self._process.stdout.readline().strip()
        self._is_ending = False
        self._keeper = threading.Thread(target=self._keep)
        self._keeper.start()

    def stop(self) -> None:
        self._is_ending = True
        while self._keeper.is_alive():
            self._process.terminate()
            self._keeper.join(0.2)

    def _start(self, port: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._command, port],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _keep(self) -> None:
        while not self._is_ending:
            with self._process:
                pass  # waits for its end
            if not self._is_ending:
                self._process = self._start(self.port)


@pytest.fixture
def other_server(tmp_path: Path) -> Iterator[str]:
    """Its URL."""
    npm_package("@tus/server")
    server = OtherServer(tmp_path / "other")
    yield f"http://127.0.0.1:{server.port}/files"
    server.stop()


def found_faults(url: str, tmp_path: Path, *options: str) -> tuple[int, dict[str, str]]:
    """The exit code, and what was found for each case that failed."""
    file = tmp_path / "verdicts.json"
    code = main([url, *options, "--quiet", "--json", str(file)])
    results = json.loads(file.read_text("utf-8"))
    return code, {
        f"{each['id']} {each['dialect']}": each["found"]
        for each in results
        if each["verdict"] == "failed"
    }


@pytest.mark.parametrize(
    "dialect",
    [
        "--tus",
        "--resumable=3,6,8,final",
        pytest.param("--resumable=4,5,7,9", marks=pytest.mark.torture),
    ],
)
def test_our_server_keeps_each_rule(serve: Serve, tmp_path: Path, dialect: str) -> None:
    """As strictly as the suite can ask. All that a dialect has is offered."""
    server = serve("--max-size", "1GiB", "--interim", "on")
    code, faults = found_faults(f"{server.url}/files", tmp_path, dialect, "--strict")
    assert faults == {}
    assert code == 0


@pytest.mark.torture
def test_a_bucket_keeps_each_rule(s3: Objects, tmp_path: Path) -> None:
    """Each dialect, with the ledger in a folder."""
    server = start_server(
        tmp_path / "none",
        *("--state", str(tmp_path / "state"), "--max-size", "1GiB", "--interim", "on"),
        env=s3.env,
        to=s3.url(s3.fresh(), "up"),
    )
    try:
        code, faults = found_faults(f"{server.url}/files", tmp_path, "--strict")
    finally:
        server.stop()
    assert (code, faults) == (0, {})


@pytest.mark.torture
def test_a_database_keeps_each_rule(database: Database, tmp_path: Path) -> None:
    """Each dialect, with the ledger in the same database."""
    files, ledger = (f"{database.url}&table={database.fresh()}" for _ in range(2))
    init = [sys.executable, "-m", "sluiceway", "init", files]
    subprocess.run(init, check=True, capture_output=True, timeout=60)
    server = start_server(
        tmp_path / "none",
        *("--ledger", ledger, "--max-size", "1GiB", "--interim", "on"),
        to=files,
    )
    try:
        code, faults = found_faults(f"{server.url}/files", tmp_path, "--strict")
    finally:
        server.stop()
    assert (code, faults) == (0, {})


def test_the_faults_of_another_server_are_found(other_server: str, tmp_path: Path) -> None:
    code, faults = found_faults(other_server, tmp_path, "--tus", "--parallel", "1")
    names = {name.removesuffix(" tus"): found for name, found in faults.items()}
    real = {name for name, found in names.items() if not found.startswith(LOST)}
    assert real <= OTHERS_FAULTS, {name: names[name] for name in real - OTHERS_FAULTS}
    assert set(names) >= OTHERS_FAULTS
    assert len(names) - len(real) <= MOST_LOST
    assert code == 1


def test_each_case_has_an_id_of_its_own_and_names_its_text() -> None:
    cases = [*TUS_CASES, *RESUMABLE_CASES]
    assert len({case.id for case in cases}) == len(cases)
    assert all(case.rule and case.reference and case.level for case in cases)


def test_a_server_that_cannot_be_asked_is_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["http://127.0.0.1:1/files", "--tus"]) == 2
    assert "cannot be asked" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["files"],
        ["http://127.0.0.1:1", "--resumable", "2"],
        ["http://127.0.0.1:1", "--resumable", "x"],
        ["http://127.0.0.1:1", "--header", "nothing"],
    ],
)
def test_arguments_that_cannot_be_used_are_named(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert arguments[-1] in capsys.readouterr().err
