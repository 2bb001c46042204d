"""A running server and the one that takes over: what each asks of the other."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from fix_replaced import can_replace
from fix_taking import eventually
from sluiceway.errors import SluiceError
from sluiceway.server.listening import handover, systemd
from sluiceway.server.listening.handover import HandoverOffer, Takeover
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.state.progress_memory import ProgressMemory

pytestmark = can_replace


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_the_successor_gets_the_socket_and_the_table(listening: socket.socket) -> None:
    """Who waits in the socket's queue is accepted by the successor."""
    memory, left = ProgressMemory.make(1), threading.Event()
    assert memory is not None
    offer = HandoverOffer([listening], memory, left.set)
    offer.start()
    takeover = Takeover.begin(offer.address)
    assert takeover is not None
    assert takeover.memory is not None
    assert [takeover.memory.has_room(workers) for workers in (1, 3)] == [True, False]

    takeover.finish()

    assert left.wait(10)
    with socket.create_connection(offer.address):
        listening.close()
        (taken,) = takeover.sockets
        taken.settimeout(10)
        taken.accept()[0].close()
        taken.close()
    os.close(takeover.memory.descriptor)
    os.close(memory.descriptor)
    assert Takeover.begin(offer.address) is None


def test_a_successor_that_is_never_ready_is_left(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The running server goes on, and waits for another one; so it does when that one dies."""
    monkeypatch.setattr(handover, "START_TIMEOUT", 0.2)
    left = threading.Event()
    offer = HandoverOffer([listening], None, left.set)
    offer.start()
    slow = Takeover.begin(offer.address)
    assert slow is not None
    eventually(lambda: _has_data(slow), "it waits no longer")
    with pytest.raises(SluiceError, match="not ready in time"):
        slow.finish()
    dead = Takeover.begin(offer.address)
    assert dead is not None
    dead._peer.close()
    assert not left.is_set()
    monkeypatch.setattr(handover, "START_TIMEOUT", 20)
    ready = Takeover.begin(offer.address)
    assert ready is not None
    ready.finish()
    assert left.wait(10)
    for sock in (*slow.sockets, *dead.sockets, *ready.sockets):
        sock.close()


def test_a_server_without_free_descriptors_hears_of_a_successor_later(
    listening: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """A waiting `accept` holds its descriptor already, so none is left when it begins."""
    offer = HandoverOffer([listening], None, lambda: None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        os.close(last := os.dup(0))  # for the offer's own socket
        resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, hard))
        try:
            offer.start()
            peer.connect(handover._name(offer.address))
            eventually(lambda: "cannot be heard now" in caplog.text, "it is said")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        peer.settimeout(20)
        assert b"protocol" in peer.recv(1000)
        peer.send(handover.READY)
        assert peer.recv(1000) == handover.LEAVING


def _has_data(takeover: Takeover) -> bool:
    try:
        return bool(takeover._peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except (BlockingIOError, TimeoutError):
        return False


@pytest.mark.parametrize(
    ("hello", "words"),
    [
        (json.dumps({"protocol": 99}).encode(), "of a version that hands its port over in another"),
        (b"not json", "of a version that hands its port over in another"),
        (b"", "does not answer"),
    ],
)
def test_a_server_of_another_version_is_not_replaced(hello: bytes, words: str) -> None:
    address = ("127.0.0.1", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.bind(handover._name(address))
        other.listen()

        def greet() -> None:
            with other.accept()[0] as peer:
                peer.send(hello)

        greeting = threading.Thread(target=greet)
        greeting.start()
        with pytest.raises(BadSetting, match=words):
            Takeover.begin(address)
        greeting.join()


PYTHON = shutil.which("python3", path="/usr/bin:/bin")
OTHER_USER = """
import socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
if sys.argv[1] == "waits":
    sock.bind(sys.argv[2].replace("@", chr(0)))
    sock.listen()
    print("ready", flush=True)
    sock.accept()[0].recv(10)
else:
    sock.connect(sys.argv[2].replace("@", chr(0)))
    print(len(socket.recv_fds(sock, 1000, 10)[1]), flush=True)
"""


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or PYTHON is None,
    reason="needs root, and a Python that all users may run",
)
def test_processes_of_other_users_get_and_give_nothing(listening: socket.socket) -> None:
    """Whoever takes the name, or asks at it."""
    offer = HandoverOffer([listening], None, lambda: None)
    name = handover._name(offer.address).replace("\0", "@")
    with _as_nobody("waits", name) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == b"ready\n"
        offer.start()  # only warns
        with pytest.raises(BadSetting, match="belongs to another user"):
            Takeover.begin(offer.address)
        assert waiting.wait(10) == 0
    offer.start()
    with _as_nobody("asks", name) as asking:
        assert asking.communicate()[0] == b"0\n"


def _as_nobody(*arguments: str) -> subprocess.Popen[bytes]:
    command = [str(PYTHON), "-I", "-S", "-c", OTHER_USER, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, user=65534)


def test_only_listening_tcp_sockets_are_taken_from_a_supervisor(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of another process are left alone."""

    def given(sock: socket.socket, process: int) -> list[socket.socket]:
        monkeypatch.setattr(systemd, "FIRST", os.dup(sock.fileno()))
        monkeypatch.setenv("LISTEN_PID", str(process))
        monkeypatch.setenv("LISTEN_FDS", "1")
        return systemd.activated_sockets()

    assert given(listening, 1) == []
    os.close(systemd.FIRST)
    (taken,) = given(listening, os.getpid())
    assert taken.getsockname() == listening.getsockname()
    assert "LISTEN_FDS" not in os.environ
    taken.close()
    with socket.socket() as silent, socket.socket(socket.AF_UNIX) as unix, open(os.devnull) as file:
        for sock in (silent, unix, file):
            with pytest.raises(BadSetting, match=r"TCP socket that listens|and is none"):
                given(sock, os.getpid())  # type: ignore[arg-type]  # a file has a number, too
