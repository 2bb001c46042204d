"""From what probes brought to findings: each kind of fault, and its near misses."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import pytest

from rude_peer import Exchange, Peer
from sluiceway.client.doctor.cut_probe import CutUpload
from sluiceway.client.doctor.diagnosis import DoctorReport
from sluiceway.client.doctor.evidence import Evidence
from sluiceway.client.doctor.exchange import MOST_INTERIM, ProbeResponse
from sluiceway.client.doctor.hops import Hop, author_of, front_of
from sluiceway.client.doctor.probes import LARGE, SlowBody, ask
from sluiceway.client.doctor.remedies import FAULTS, diagnose
from sluiceway.client.doctor.target import parse_target
from sluiceway.client.doctor.tls_probe import PREFACE, TlsFacts, stream_window
from sluiceway.client.doctor.verdicts import judge

SIZE, NOW = 96 << 10, 1_800_000_000.0
NGINX_413 = b"<html>\r\n<head></head><body><center><h1>413</h1></center><center>nginx</center>"


def echo(**facts: object) -> ProbeResponse:
    seen = {"doctor": 1, "time": NOW, "host": "h", "app_server": "sluiceway serve", **facts}
    return ProbeResponse(200, (("server", "nginx"),), json.dumps(seen).encode())


def body(*times: float, size: int = SIZE, ended: str = "whole") -> SlowBody:
    arrivals = [[seconds, size] for seconds in times]
    seen = echo(body={"bytes": size, "ended": ended, "arrivals": arrivals})
    return SlowBody(seen, SIZE, 6.0, early=False)


LIVE = body(0.0, 3.0, 5.9)
BROKEN = SlowBody(ProbeResponse(failure="hung up"), 1000, 2.0, early=True)
GOOD = Evidence(
    "h",
    Hop.NGINX,
    echo(interim_allowed=False),
    NOW - 1,
    NOW + 1,
    tls=TlsFacts("", 80.0, takes_old=False, window=1 << 20),
    slow=LIVE,
    chunked=LIVE,
    paused=LIVE,
    waited=echo(),
    large=echo(body={"bytes": LARGE}),
    expect=(100, echo(headers=[["expect", 12]])),
    interim=replace(echo(interim_sent=True), interim=(104,)),
    events=ProbeResponse(200, (), b"event: doctor\n" * 5, times=(0.0, 0.3, 0.6, 0.9, 1.2)),
    origin="https://app",
    preflight=ProbeResponse(204, (("access-control-allow-origin", "*"),)),
    shared=ProbeResponse(200, (("access-control-allow-origin", "https://app"),)),
    cut=CutUpload(1000, 1000),
)

CASES: dict[str, tuple[dict[str, object], str]] = {
    "all at once": ({"slow": body(5.9, 6.0)}, "request-buffered"),
    "chunks at once": ({"chunked": body(0.1, 0.1)}, "chunked-buffered"),
    "chunks are refused": (
        {"chunked": SlowBody(ProbeResponse(411), SIZE, 2.0, early=True)},
        "chunked-refused",
    ),
    "chunks arrive empty": ({"chunked": body(size=0)}, "chunked-emptied"),
    "a cap": ({"cap": (1 << 19, ProbeResponse(413, (), NGINX_413))}, "body-cap"),
    "a cap that counts": ({"large": ProbeResponse(413, (), NGINX_413)}, "body-cap"),
    "a cap that hangs up": ({"large": ProbeResponse(failure="hung up")}, "body-cap"),
    "a pause": ({"paused": BROKEN}, "idle-timeout"),
    "a body": ({"slow": BROKEN, "paused": BROKEN, "waited": ProbeResponse(504)}, "total-timeout"),
    "a response": ({"waited": ProbeResponse(504)}, "response-timeout"),
    "no 100": ({"expect": (0, echo())}, "expect-unanswered"),
    "100 by another": ({"expect": (100, echo(headers=[]))}, "expect-swallowed"),
    "417": ({"expect": (417, ProbeResponse(417))}, "expect-refused"),
    "104 is final": (
        {"interim": ProbeResponse(104), "greeting": echo(interim_allowed=True)},
        "interim-breaks",
    ),
    "104 is final, and the response its body": (
        {
            "interim": ProbeResponse(200, (), echo(interim_sent=True).body, (104,)),
            "greeting": echo(interim_allowed=True),
        },
        "interim-breaks",
    ),
    "104 is final, and is not sent": ({"interim": ProbeResponse(502)}, "interim-lost"),
    "104 is swallowed": ({"interim": echo(interim_sent=True)}, "interim-lost"),
    "events": (
        {"events": ProbeResponse(200, (), b"event: doctor\n" * 5, times=(1.21, 1.22))},
        "events-buffered",
    ),
    "events but the first": (
        {"events": ProbeResponse(200, (), b"event: doctor\n" * 5, times=(0.01, 1.22, 1.22))},
        "events-buffered",
    ),
    "a cut that the server saw": ({"paused": body(0.1, size=9, ended="body-cut")}, "idle-timeout"),
    "a window": ({"tls": TlsFacts("", 80.0, takes_old=False, window=65535)}, "http2-window"),
    "an old version": ({"tls": TlsFacts("", 80.0, takes_old=True)}, "tls-old"),
    "an end": ({"tls": TlsFacts("", 3.0)}, "tls-expires"),
    "no trust": ({"tls": TlsFacts("self-signed")}, "tls-untrusted"),
    "no TLS": ({"is_secret_in_clear": True}, "tls-absent"),
    "no preflight": ({"preflight": ProbeResponse(204)}, "cors-missing"),
    "no header": ({"shared": echo(origin_allowed=True)}, "cors-missing"),
    "another Host": ({"greeting": echo(host="127.0.0.1:8000")}, "host-rewritten"),
    "a clock": ({"greeting": echo(time=NOW - 90)}, "clock-skew"),
    "a fast clock": ({"greeting": echo(time=NOW + 90)}, "clock-skew"),
    "nothing is kept": ({"cut": CutUpload(1000, 0)}, "offset-lost"),
}


def test_a_good_chain_has_no_finding() -> None:
    assert judge(GOOD) == ()
    assert DoctorReport("u", GOOD.hops, judge(GOOD), ()).is_well
    assert GOOD.hops == (Hop.NGINX, Hop.SLUICEWAY)


@pytest.mark.parametrize("case", CASES)
def test_one_fault_is_one_finding(case: str) -> None:
    changed, code = CASES[case]
    found = judge(replace(GOOD, **changed))  # type: ignore[arg-type]

    assert [one.code for one in found] == [code]
    assert found[0].to_json()["fix"]


def test_each_fault_is_tried() -> None:
    assert {code for _, code in CASES.values()} == set(FAULTS)


def test_the_cause_is_who_wrote_the_refusal() -> None:
    """A proxy in front of nginx is not at fault for what nginx says."""
    behind = replace(GOOD, front=Hop.HAPROXY, cap=(1 << 19, ProbeResponse(413, (), NGINX_413)))

    assert [(one.code, one.hop) for one in judge(behind)] == [("body-cap", Hop.NGINX)]


def test_our_own_refusal_of_a_size_is_no_fault() -> None:
    ours = b'{"type": "about:blank", "title": "too large", "status": 413}'

    assert judge(replace(GOOD, cap=(1 << 19, ProbeResponse(413, (), ours)))) == ()


def test_waitress_stores_bodies_whatever_stands_in_front() -> None:
    greeting = echo(app_server="waitress")
    found = judge(replace(GOOD, greeting=greeting, slow=body(6.0), chunked=body(6.0)))

    assert [(one.code, one.hop) for one in found] == [("request-buffered", Hop.WAITRESS)]


def test_what_a_server_invents_breaks_nothing() -> None:
    """The doctor asks strangers, too."""
    every: list[object] = [[], [[]], ["x"], {"a": 1}, [[None, 2]], None]
    for arrivals in every:
        odd = SlowBody(echo(body={"arrivals": arrivals}), SIZE, 6.0, early=False)
        judge(replace(GOOD, slow=odd, chunked=odd, greeting=echo(time="soon", host=None)))
    judge(replace(GOOD, greeting=ProbeResponse(200, (("date", "soon"),), b"[" * 5000)))


@pytest.mark.parametrize(
    ("refusal", "server", "front"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n<center>nginx/1.22</center>", "", Hop.NGINX),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n<html><body><h1>400 Bad request</h1>\nYour", "gunicorn",
         Hop.HAPROXY),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n400", "Caddy", Hop.CADDY),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n400", "", Hop.TRAEFIK),
        (b"HTTP/1.0 400 Bad Request\r\n\r\n(generated by waitress)", "", Hop.WAITRESS),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n<h1><p>Bad Request</p></h1>", "", Hop.GUNICORN),
        (b'HTTP/1.1 400 Bad Request\r\n\r\n{"type": "about:blank"}', "", Hop.SLUICEWAY),
        (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "granian", Hop.GRANIAN),
        (b"", "", None),
    ],
)  # fmt: skip
def test_who_takes_the_connections_shows_by_its_own_words(
    refusal: bytes, server: str, front: Hop | None
) -> None:
    ordinary = ProbeResponse(200, (("server", server),), b"x")

    assert front_of(refusal, [ordinary]) is front


def test_a_page_that_is_passed_on_is_not_the_proxys_own() -> None:
    passed_on = ProbeResponse(413, (("server", "nginx"),), b'{"type": "about:blank"}')

    assert author_of(passed_on) is Hop.SLUICEWAY
    assert author_of(ProbeResponse(413, (("server", "Caddy"),), b"")) is Hop.CADDY


def test_each_finding_has_a_line_to_write_for_each_hop() -> None:
    for code in FAULTS:
        for hop in (*Hop, None):
            made = diagnose(code, "seen", hop)
            assert made.fix
            assert made.directive


def frame(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags, 0, 0, 0, 0]) + payload


def test_the_window_of_http2_is_in_the_first_settings() -> None:
    settings = frame(4, (3).to_bytes(2) + (100).to_bytes(4) + (4).to_bytes(2) + (9).to_bytes(4))

    assert stream_window(settings) == 9
    assert stream_window(frame(8, bytes(4)) + settings) == 9
    assert stream_window(frame(4, b"")) == 65535
    assert stream_window(frame(4, b"", flags=1)) is None  # that of our own settings
    assert all(stream_window(settings[:cut]) is None for cut in range(len(settings)))
    assert PREFACE.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def test_interim_responses_without_end_are_the_end() -> None:
    def flood(exchange: Exchange) -> None:
        with suppress(OSError):  # the doctor hangs up
            for _ in range(1000):
                exchange.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)

    with Peer(flood) as peer:
        response = ask(parse_target(peer.url))
    assert (response.status, response.failure) == (0, "hung up")
    assert len(response.interim) == MOST_INTERIM


def test_odd_numbers_of_a_hostile_server_are_judged_as_well() -> None:
    """A JSON integer may have hundreds of digits, and be no float."""
    for odd in (10**400, -(10**400), float("inf"), float("nan"), True, None, "x", [10**400]):
        slow = SlowBody(echo(body={"arrivals": [[odd], [odd]], "bytes": odd}), SIZE, 6.0, False)
        greeting = echo(time=odd, host=odd, headers=[odd], app_server=odd)
        evidence = replace(GOOD, greeting=greeting, slow=slow, paused=slow, expect=(0, greeting))
        report = DoctorReport("u", (), judge(evidence), ())
        assert json.dumps(report.to_json())
