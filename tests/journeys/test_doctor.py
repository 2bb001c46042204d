"""`sluiceway doctor` against real chains: each fault is named, and a good chain has none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from deployed_chains import CHAINS, ORIGIN, chain
from fix_deploy import TOKEN
from fix_server import RunningServer, start_server
from fix_tls import Certificates
from free_ports import free_port
from rude_peer import Exchange, Peer
from sluiceway.client.doctor.diagnosis import DoctorReport, Severity
from sluiceway.client.doctor.examine import examine
from sluiceway.client.doctor.target import parse_target
from sluiceway.client.doctor.tls_probe import look_at_tls
from token_names import secret_of, token_file

HOLD = 3.0  # seconds: the timeouts of the faulty chains are one and two


def examined(name: str, url: str, hold: float, ca_file: Path | None = None) -> DoctorReport:
    """Pages from elsewhere are for the server's own chains: the apps allow none."""
    origin = ORIGIN if "/up" not in url and not name.startswith("granian") else ""
    target = parse_target(url, TOKEN, None if ca_file is None else str(ca_file))
    return examine(target, hold=hold, origin=origin)


def named(report: DoctorReport) -> list[tuple[str, str, str]]:
    return [
        (one.code, str(one.hop), one.directive)
        for one in report.findings
        if one.severity is not Severity.NOTE
    ]


def check(report: DoctorReport, name: str) -> None:
    found, expected = named(report), CHAINS[name].found
    assert [(code, hop) for code, hop, _ in found] == [(code, hop) for code, hop, _ in expected], (
        report
    )
    for (_, _, directive), (_, _, word) in zip(found, expected, strict=True):
        assert word in directive


@pytest.mark.torture
@pytest.mark.parametrize("name", CHAINS)
def test_each_fault_is_named_and_a_good_chain_has_none(
    name: str, tmp_path: Path, tls: Certificates
) -> None:
    with chain(CHAINS[name], tmp_path, tls.server) as url:
        ca_file = tls.ca if url.startswith("https") else None
        check(examined(name, url, HOLD, ca_file), name)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("doctor")
    tokens = token_file(folder / "tokens", {"boss": "admin", "drop": "upload-only"})
    server = start_server(folder / "root", "--token-file", str(tokens))
    yield server
    server.stop()


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sluiceway", "doctor", "--hold", "0.5", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=110)


def test_a_server_without_a_proxy_is_well(served: RunningServer) -> None:
    """In text and exit code; nothing of the probes is left."""
    done = run("--token", secret_of("boss"), served.url)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{served.url}: sluiceway serve\nall is well\n")
    assert "not checked: timeouts of more than 0.5 seconds" in done.stdout
    assert (served.stored(), served.drafts()) == ({}, [])


@pytest.mark.nginx
def test_faults_of_a_proxy_are_named_in_json_with_the_lines_to_write(tmp_path: Path) -> None:
    """Several at once, as nginx has them without any setting."""
    plain = replace(
        CHAINS["nginx"], changed=dict.fromkeys(("body", "cap", "version", "host", "for"), "")
    )
    with chain(plain, tmp_path) as url:
        done = run("--json", "--token", TOKEN, "--origin", ORIGIN, url)

    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["hops"] == ["nginx", "sluiceway serve"]
    fixes = {one["code"]: one["fix"] for one in report["findings"]}
    assert fixes["request-buffered"] == "proxy_request_buffering off;"
    assert fixes["body-cap"] == "client_max_body_size 0;"
    assert fixes["host-rewritten"] == "proxy_set_header Host $http_host;"
    assert {one["hop"] for one in report["findings"]} == {"nginx"}


@pytest.mark.nginx
def test_without_the_right_the_refusals_say_what_they_can(tmp_path: Path) -> None:
    """A secret that opens nothing: the chain is seen from outside."""
    plain = replace(CHAINS["nginx"], changed={"body": "", "cap": ""})
    with chain(plain, tmp_path) as url:
        report = examine(parse_target(url, "a-wrong-secret-0123456789"))

    assert [code for code, _, _ in named(report)] == ["body-cap", "request-buffered"]
    assert any("with the right `admin`" in text for text in report.not_seen)


def test_a_name_without_the_right_finds_nothing_wrong_at_a_good_server(
    served: RunningServer,
) -> None:
    report = examine(parse_target(served.url, secret_of("drop")))

    assert report.findings == ()
    assert any("/doctor got 403" in text for text in report.not_seen)


def test_a_server_that_is_no_sluiceway_is_said_to_be_none() -> None:
    def refuse(exchange: Exchange) -> None:
        exchange.reply(404, body=b"what is that?")

    with Peer(refuse) as peer:
        report = examine(parse_target(peer.url))

    assert report.is_well
    assert any("this is not Sluiceway" in text for text in report.not_seen)


def test_a_server_that_is_lost_on_the_way_leaves_what_was_found() -> None:
    def refuse(exchange: Exchange) -> None:
        exchange.reply(404, body=b"what is that?")

    with ExitStack() as stack:
        peer = stack.enter_context(Peer(refuse))

        def show(probe: str) -> None:
            if probe == "what a page may read":
                stack.close()

        report = examine(parse_target(peer.url), origin=ORIGIN, show=show)

    assert not report.is_whole
    assert not report.is_well
    assert report.not_seen[0].startswith("what a page may read, and what comes behind it: ")


def test_a_server_that_is_not_there_has_an_exit_code_of_its_own() -> None:
    done = run(f"http://127.0.0.1:{free_port()}")

    assert done.returncode == 2
    assert "cannot be reached" in done.stderr


@pytest.mark.nginx
def test_no_secret_goes_to_a_server_whose_certificate_is_not_trusted(
    tmp_path: Path, tls: Certificates
) -> None:
    with chain(CHAINS["nginx with TLS and HTTP/2"], tmp_path, tls.server) as url:
        report = examine(parse_target(url, TOKEN))
        facts = look_at_tls(parse_target(url, TOKEN, str(tls.ca)))

    assert [code for code, _, _ in named(report)] == ["tls-untrusted"]
    assert (facts.problem, facts.window, facts.takes_old) == ("", 1 << 20, False)
