"""Settings from four places; unusable ones are reported in one line, and nothing starts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import requests

from fix_server import Serve
from journeys.test_operation import TOKEN, limit_of, run


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(
    serve: Serve, tmp_path: Path
) -> None:
    """One setting in all places: the more specific place wins."""
    (tmp_path / "sluiceway.toml").write_text("max_size = 300\n")
    (tmp_path / "other.toml").write_text("max-size = '400B'\nmemory_budget = '16MiB'\n")
    variable = {"SLUICEWAY_MAX_SIZE": "200"}

    assert limit_of(serve("--max-size", "100", env=variable)) == 100
    assert limit_of(serve(env=variable)) == 200
    misspelt = serve(env={"SLUICEWAY_MAXSIZE": "200"})
    assert limit_of(misspelt) == 300
    assert "SLUICEWAY_MAXSIZE is no setting and is ignored; write SLUICEWAY_MAX_SIZE" in (
        misspelt.log()
    )
    assert limit_of(serve("--config", str(tmp_path / "other.toml"))) == 400
    (tmp_path / "sluiceway.toml").unlink()
    assert requests.put(f"{serve().url}/files/any", data=b"x" * 1000, timeout=10).status_code == 201


BAD = [
    (["--port", "70000"], {}, "", "--port"),
    (["--port", "x"], {}, "", "--port"),
    (["--port", "-1"], {}, "", "--port"),
    (["--max-size", "big"], {}, "", "--max-size"),
    (["--max-size", "-5"], {}, "", "--max-size"),
    (["--max-size", "1.5GiB"], {}, "", "--max-size"),
    (["--memory-budget", "1MiB"], {}, "", "--memory-budget"),
    (["--memory-budget", "8MiB", "--workers", "3"], {}, "", "--memory-budget"),
    (["--digest", "md5"], {}, "", "--digest"),
    (["--digest", ""], {}, "", "--digest"),
    (["--workers", "0"], {}, "", "--workers"),
    (["--workers", "65"], {}, "", "--workers"),
    (["--shutdown-timeout", "-1"], {}, "", "--shutdown-timeout"),
    (["--shutdown-timeout", "nan"], {}, "", "--shutdown-timeout"),
    (["--token", "short"], {}, "", "--token"),
    (["--token", ""], {}, "", "--token"),
    (["--ledger", "mysql://x/y"], {}, "", "postgresql://"),
    (["--ledger", "postgresql://me:pa55word@127.0.0.1:1/y"], {}, "", "cannot be reached"),
    (["--ledger", "postgresql://x/y", "--state", "s"], {}, "", "--state and --ledger"),
    (["--state", "s3://bucket/x"], {}, "", "--state takes a folder"),
    (["--to", "files", "--state", "files/state"], {}, "", "--state"),
    (["--expire-after", "-1"], {}, "", "--expire-after"),
    (["--forget-after", "inf"], {}, "", "--forget-after"),
    (["--key-template", "{nope}"], {}, "", "{nope}"),
    (["--key-template", "fixed"], {}, "", "{id}"),
    (["--key-template", "{id"], {}, "", "{id"),
    (["--key-template", "../{filename}"], {}, "", "../"),
    (["--key-template", ".sluiceway/drafts/{id}"], {}, "", ".sluiceway"),
    (["--key-template", "/{id}"], {}, "", "/{id}"),
    (["--key-template", "{filename.__class__}"], {}, "", "{filename.__class__}"),
    (["--key-template", "{filename:>99999999}"], {}, "", "{filename:>99999999}"),
    (["--to", "s3://bucket/x"], {}, "", "s3"),
    (["--to", "s3://"], {}, "", "s3://BUCKET/PREFIX"),
    (["--to", "http://"], {}, "", "http://HOST/PATH"),
    (["--to", ""], {}, "", "give a folder"),
    (["--to", "/etc/passwd"], {}, "", "give a folder"),
    (["--to", "/dev/null"], {}, "", "/dev/null"),
    (["--to", "/proc/nothing/here"], {}, "", "/proc/nothing/here"),
    (["--host", "0.0.0.0"], {}, "", "--token"),
    (["--host", "::"], {}, "", "--token"),
    (["--host", "example.org"], {}, "", "--token"),
    (["--host", "300.1.1.1", "--no-auth"], {}, "", "300.1.1.1"),
    (["--no-such-option"], {}, "", "--no-such-option"),
    (["--bogus"], {}, "", "'--bogus'."),
    (["--no-autth"], {}, "", "Did you mean '--no-auth'?"),
    (["--relay-idle", "5"], {}, "", "Did you mean '--relay-idle-timeout'?"),
    ([], {"SLUICEWAY_PORT": "x"}, "", "SLUICEWAY_PORT"),
    ([], {"SLUICEWAY_WORKERS": "0"}, "", "--workers (from SLUICEWAY_WORKERS)"),
    ([], {"SLUICEWAY_NO_AUTH": "perhaps"}, "", "no-auth"),
    ([], {}, "nope = 1", "nope"),
    ([], {}, "[serve]\nport = 1", "serve"),
    ([], {}, "port = 'x'", "sluiceway.toml"),
    ([], {}, "port = [1]", "port"),
    ([], {}, "to = [['a']]", "to"),
    ([], {}, "max_size = {a = 1}", "max"),
    ([], {}, "port = ", "sluiceway.toml"),
    (["--config", "missing.toml"], {}, "", "missing.toml"),
]


# A secret that is set but empty is never "no secret"
BAD += [
    ([], {"SLUICEWAY_TOKEN": ""}, "", "SLUICEWAY_TOKEN"),
    ([], {"SLUICEWAY_TOKEN": " \n"}, "", "SLUICEWAY_TOKEN"),
    ([], {"SLUICEWAY_TOKEN_FILE": ""}, "", "SLUICEWAY_TOKEN_FILE"),
    ([], {"SLUICEWAY_RELAY_HEADER": ""}, "", "SLUICEWAY_RELAY_HEADER"),
    ([], {"SLUICEWAY_STORE_OPTION": ""}, "", "SLUICEWAY_STORE_OPTION"),
    ([], {}, "token = ''", "--token"),
    ([], {}, "token_file = ''", "--token-file"),
    (["--token", " " * 12], {}, "", "--token"),
    (["--token", "line\nbreaks-in-it"], {}, "", "--token"),
    (["--token-file", "missing"], {}, "", "missing"),
    (["--token-file", "/dev/null"], {}, "", "/dev/null"),
    (["--token-file", "sluiceway.toml", "--token", TOKEN], {}, "port = 0", "--token-file"),
    (["--relay-header", "Authorization: Bearer "], {}, "", "Authorization"),
    (["--relay-header", "Authorization:"], {}, "", "Authorization"),
    (["--relay-header", "X-Api-Key: "], {}, "", "X-Api-Key"),
    (["--store-option", "secret_access_key="], {}, "", "secret_access_key"),
    (["--allowed-host", "*"], {}, "", "--allowed-host"),
    (["--allowed-host", "http://x"], {}, "", "--allowed-host"),
    (["--allowed-host", "x:80"], {}, "", "--allowed-host"),
    (["--allow-origin", "app.example.com"], {}, "", "--allow-origin"),
    (["--allow-origin", "https://app.example.com/page"], {}, "", "--allow-origin"),
    (["--allow-origin", "null"], {}, "", "--allow-origin"),
    (["--allow-origin", "*"], {}, "", "--allow-origin"),
]


@pytest.mark.parametrize(
    ("options", "env", "config", "named"), BAD, ids=[f"{o or e or c}" for o, e, c, _ in BAD]
)
def test_an_unusable_setting_is_reported_and_nothing_starts(
    tmp_path: Path, options: list[str], env: dict[str, str], config: str, named: str
) -> None:
    """Exit code 2 and its name in the last line; no traceback, no address."""
    if config:
        (tmp_path / "sluiceway.toml").write_text(config)
    ended = run(*options, cwd=tmp_path, env=env)
    lines = ended.stderr.strip().splitlines()

    assert ended.returncode == 2, ended.stderr
    assert named in lines[-1], ended.stderr
    assert "Traceback" not in ended.stderr
    assert "http://" not in ended.stdout
    if not lines[0].startswith("Usage"):
        assert len(lines) == 1, ended.stderr


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
@pytest.mark.parametrize("name", ["sluiceway.toml", "token"])
def test_a_file_that_others_can_write_to_sets_nothing(tmp_path: Path, name: str, mode: int) -> None:
    """Another user could open the server, or send its files elsewhere."""
    path = tmp_path / name
    path.write_text("port = 0" if name == "sluiceway.toml" else TOKEN)
    path.chmod(mode)
    ended = run(*(["--token-file", str(path)] if name == "token" else []), cwd=tmp_path)
    assert (ended.returncode, "chmod go-w" in ended.stderr) == (2, True)


def test_a_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    """The line names the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--port", str(port), cwd=tmp_path)

    assert ended.returncode == 2
    assert f"port {port}" in ended.stderr
    assert "--port" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("place", [".", "best-effort:."])
def test_settings_that_an_upload_could_replace_are_refused(tmp_path: Path, place: str) -> None:
    """`PUT /files/sluiceway.toml` would choose the settings of the next start."""
    (tmp_path / "sluiceway.toml").write_text("port = 0")
    ended = run("--to", place, *(["--to", "memory:"] if place != "." else []), cwd=tmp_path)
    assert (ended.returncode, "folder for uploads" in ended.stderr) == (2, True)
