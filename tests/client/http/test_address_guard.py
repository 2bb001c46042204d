"""No spelling of an internal address passes, directly or by a redirect; a canary listens there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from canary import Canary
from rude_peer import Exchange, Peer
from sluiceway.client.guarded_fetch import fetch
from sluiceway.client.http.address_guard import AddressGuard, parse_network
from sluiceway.client.http.transport import Transport
from sluiceway.errors import BadRequest, Forbidden, PeerUnreachable, SluiceError
from sluiceway.wire.host_patterns import Hosts
from sluiceway.wire.urls import parse_address

GATE = "127.0.0.2"  # the one address these tests allow: a server that redirects stands there


def forms(text: str) -> list[str]:
    return text.split()


# Numbers as they are connected to. Every one of them must be refused by the guard itself.
INTERNAL = forms("""
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.0.0.3
127.255.255.255
169.254.0.1 169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 168.63.129.16 192.0.0.192
172.16.0.1
172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1
198.19.255.255
198.51.100.1 203.0.113.255 224.0.0.1 239.255.255.255 240.0.0.1 254.1.2.3 255.255.255.255
:: ::1 ::2 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
::ffff:168.63.129.16 ::ffff:0.0.0.0
::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::10.1.2.3 64:ff9b:1::1
64:ff9b:1::7f00:1
64:ff9b:1::8.8.8.8 64:ff9b:2::1 100::1 100:0:0:1::1 2001::1 2001:0:4136:e378:8000:63bf:80ff:fffe
2001:2::1 2001:10::1
2001:20::1 2001:db8::1 2001:db8:ffff::1 2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe::
2002:c0a8:101::1
2606:4700::5efe:7f00:1 2606:4700::5efe:a00:1 2606:4700::200:5efe:c0a8:1 3fff::1 3fff:fff::1 4000::1
5f00::1 8000::1
fc00::1 fd00::1 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fdff:ffff::1 fe80::1 fe80::a9fe:a9fe
fe80::5efe:7f00:1 febf::1
fec0::1 feff::1 ff00::1 ff02::1 ff0e::1
""")

# Hosts as people write them in a URL, each meant to end at this machine. PORT is the canary's.
DISGUISED = forms("""
127.0.0.1 127.0.0.1. 127.1 127.0.1 127.000.000.001 0x7f.1 0x7f.0.0.1 0x7F.0x0.0x0.0x1 0x7f000001
0X7F000001 2130706433
017700000001 0177.0.0.1 0177.0.0.01 00000177.0.0.1 0 0x0 0x 00 0.0 0.0.0.0 127.0.0.1.. 127.65537
127.0x1 localhost.0x1
①②⑦.0.0.1 １２７.0.0.1 127。0。0。1 127．0．0．1 127｡0｡0｡1 ②①③⓪⑦⓪⑥④③③ ０ｘ７ｆ.1
localhost LOCALHOST LocalHost
localhost.
ⓛⓞⓒⓐⓛⓗⓞⓢⓣ localhost。 0251.0376.0251.0376 2852039166 0xa9fea9fe 169.254.43518
[::1] [::] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::0.0.0.1]
[::ffff:127.0.0.1] [::FFFF:7f00:1]
[0:0:0:0:0:ffff:127.0.0.1] [::127.0.0.1] [::ffff:0x7f.1] [::1%25lo] [::1%lo] [fe80::1%25lo]
[fe80::1%251] [127.0.0.1] [localhost]
[v1.::1] [] 127%2e0%2e0%2e1 %31%32%37.0.0.1 127.0.0.1%00 127.0.0.1%2fname.invalid 127.0.0.1%23
loc%61lhost
name.invalid@127.0.0.1 name.invalid:80@127.0.0.1 name.invalid%00@127.0.0.1 name.invalid\\@127.0.0.1
@127.0.0.1 :@127.0.0.1
user:p%40ss@localhost name.invalid@name.invalid@127.0.0.1
""")

# Whole URLs: other schemes, other separators, ports that are not the web's.
WHOLE = forms("""
file:///etc/passwd file://127.0.0.1/etc/passwd ftp://127.0.0.1:PORT/ gopher://127.0.0.1:PORT/_x
dict://127.0.0.1:PORT/x
data:text/plain,x ldap://127.0.0.1:PORT/ unix:/run/x.sock jar:http://127.0.0.1:PORT/!/
view-source:http://127.0.0.1:PORT/ ws://127.0.0.1:PORT/
http:127.0.0.1:PORT http:/127.0.0.1:PORT/ http:///127.0.0.1:PORT/ //127.0.0.1:PORT/
http:\\\\127.0.0.1:PORT/ 127.0.0.1:PORT
http://::1:PORT/ http://[::1:PORT/ http://[::1]PORT/ http://127.0.0.1:PORT:80/
http://127.0.0.1:+PORT/ http://127.0.0.1:PORT\\x
http://127.0.0.1:0/ http://127.0.0.1:22/ http://127.0.0.1:25/ http://127.0.0.1:99999/
http://127.0.0.1:-1/ http://8.8.8.8:25/
http://8.8.8.8:22/ https://8.8.8.8:993/ http://8.8.8.8:0/ http://127.0.0.1:PORT#@name.invalid/
http://127.0.0.1:PORT?@name.invalid/
https://127.0.0.1:PORT/ HTTP://127.0.0.1:PORT/ hTTp://LOCALHOST:PORT/
""")

PUBLIC = forms("""
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1
169.253.255.255 169.255.0.1
172.15.255.255 172.32.0.1 192.0.1.1 192.0.3.1 192.167.255.255 192.169.0.1 198.17.255.255 198.20.0.1
203.0.114.1 223.255.255.255
168.63.129.15 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2001:200::1 2001:4860:4860::8888
2606:4700:4700::1111 2a00:1450::1
2c0f::1 2606:4700::5efe:808:808 3ffe::1
""")


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    with Canary() as listening:
        yield listening


def written(form: str, port: int) -> str:
    """A form as a whole URL."""
    return form.replace("PORT", str(port)) if form in WHOLE else f"http://{form}:{port}/x"


def transport() -> Transport:
    """As the server's: public addresses, and GATE."""
    return Transport(guard=AddressGuard([f"{GATE}/32"]), keep=False)


async def fetched(transport: Transport, url: str) -> int | SluiceError:
    """The status of a URL of any host, or the error."""
    try:
        address = parse_address(url)
        async with fetch(transport, address.url, {}, Hosts(["*"])) as response:
            return response.head.status
    except SluiceError as error:
        return error


async def status(url: str) -> int:
    async with transport() as one:
        response = await fetched(one, url)
    if isinstance(response, SluiceError):
        raise response
    return response


def test_there_are_enough_forms() -> None:
    """120 forms and 20 controls, each once."""
    forms = {*INTERNAL, *DISGUISED, *WHOLE}

    assert len(forms) >= 120
    assert len(set(PUBLIC)) >= 20


def test_no_internal_address_is_connected_to() -> None:
    """The table has every range that is not public, and checks addresses inside of addresses."""
    guard = AddressGuard()
    for address in INTERNAL:
        with pytest.raises(Forbidden, match=r"--fetch-internal"):
            guard(address, 80)  # the traceback has the address


def test_public_addresses_pass() -> None:
    """Neighbours of every range included: a guard that refuses all proves nothing."""
    for address in PUBLIC:
        AddressGuard()(address, 443)


async def test_no_form_of_an_internal_address_is_reached(canary: Canary) -> None:
    """Asked for directly: refused with a reason, whatever the resolver makes of the form."""
    reached: list[str] = []
    async with transport() as one:
        for form in (*DISGUISED, *WHOLE):
            # not every resolver knows it
            unknown = () if form not in ("localhost.", "localhost。") else (PeerUnreachable,)
            response = await fetched(one, written(form, canary.port))
            if not isinstance(response, (Forbidden, BadRequest, *unknown)):
                reached.append(f"{form}: {response!r}")
    assert reached == []
    assert canary.met == 0


async def test_no_redirect_leads_to_an_internal_address(canary: Canary) -> None:
    """The same forms in a Location: each hop is looked at as the first one was."""
    location = ""
    reached: list[str] = []

    def act(exchange: Exchange) -> None:
        exchange.reply(302, {"Location": location})

    with Peer(act, GATE) as peer:
        async with transport() as one:
            for form in (*DISGUISED, *WHOLE):
                location = written(form, canary.port).encode().decode("latin-1")
                before = len(peer.seen)
                response = await fetched(one, peer.url)
                # A relative reference leads back to the peer, until the hops are used up. A header
                # has no letters beyond ISO-8859-1: such a disguise becomes a name that does not
                # exist.
                unknown = (
                    {"peer-unreachable"} if not form.isascii() or form == "localhost." else set()
                )
                codes = {"forbidden", "bad-request", "peer-failed"} | unknown
                refused = isinstance(response, SluiceError) and response.code in codes
                if not refused or len(peer.seen) == before:
                    reached.append(f"{form}: {response!r}")
    assert reached == []
    assert canary.met == 0


async def test_the_gate_of_these_tests_is_open() -> None:
    """The tests above fail for the address, not because nothing can be fetched at all."""
    with Peer(lambda exchange: exchange.reply(200, body=b"in"), GATE) as peer:
        assert await status(peer.url) == 200


@pytest.mark.parametrize("port", [80, 443, 8080])
async def test_a_refused_address_is_our_own_error(port: int) -> None:
    """Forbidden, with what to do: no library's error, and not a server that cannot be reached."""
    async with Transport(guard=AddressGuard()) as transport:
        with pytest.raises(Forbidden) as caught:
            async with transport.ask("GET", f"http://127.0.0.1:{port}/", {}):
                pass

    assert caught.value.code == "forbidden"
    assert "loopback" in caught.value.detail
    assert (
        "127.0.0.1" not in caught.value.detail
    )  # the addresses behind a name are not shown to clients


@pytest.mark.parametrize(
    "responses",
    [
        [GATE, "127.0.0.1"],
        ["127.0.0.1", GATE],
        [GATE, GATE, "::1"],
        ["::1", GATE],
        [GATE, "::ffff:127.0.0.1"],
        [GATE, "169.254.169.254"],
    ],
    ids=" ".join,
)
async def test_one_bad_address_refuses_the_name(
    responses: list[str], canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good and a bad address: a connect that fails at the good one would try the bad one."""
    resolves_to(monkeypatch, [responses])
    with pytest.raises(Forbidden):
        await status(f"http://mixed.example:{canary.port}/")
    assert canary.met == 0


async def test_a_name_that_changes_its_address_is_refused(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: the first look-up is good, the second is internal. The checked address is used."""
    with Peer(lambda exchange: exchange.reply(200), GATE) as peer:
        port = peer.url.rpartition(":")[2]
        resolves_to(monkeypatch, [[GATE], ["127.0.0.1"]])

        assert await status(f"http://rebinds.example:{port}/") == 200
        with pytest.raises(Forbidden):
            await status(f"http://rebinds.example:{canary.port}/")
    assert canary.met == 0


def test_an_operator_allows_what_is_internal() -> None:
    """Exactly that network, in every form it may come in."""
    guard = AddressGuard(["10.1.0.0/16", "fd12::/64", "127.0.0.2"])

    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::7", "127.0.0.2"):
        guard(address, 80)
    for address in ("10.2.0.1", "::ffff:10.2.0.1", "fd12:0:0:1::7", "127.0.0.1", "2002:a02:1::1"):
        with pytest.raises(Forbidden):
            guard(address, 80)


def test_metadata_is_allowed_by_its_own_address_only() -> None:
    """A wide network of an operator's does not hand out the machine's keys."""
    for wide in ("169.254.0.0/16", "0.0.0.0/0", "169.254.169.254/31"):
        with pytest.raises(Forbidden, match="metadata"):
            AddressGuard([wide])("169.254.169.254", 80)
    with pytest.raises(Forbidden, match="metadata"):
        AddressGuard(["fd00::/8"])("fd00:ec2::254", 80)

    AddressGuard(["169.254.169.254"])("169.254.169.254", 80)


def test_the_ipv4_address_behind_a_local_translator_is_checked() -> None:
    """Who allows the local NAT64 prefix allows the way, not every end of it."""
    guard = AddressGuard(["64:ff9b:1::/48"])
    guard("64:ff9b:1::808:808", 443)

    with pytest.raises(Forbidden, match="NAT64"):
        guard("64:ff9b:1::7f00:1", 443)


@pytest.mark.parametrize(
    "address", ["", "name", "1.2.3", "0x7f.1", "1.2.3.4.5", "::ffff:1.2.3", "unix"]
)
def test_invalid_addresses_are_refused(address: str) -> None:
    """The guard decides on numbers only."""
    with pytest.raises(Forbidden):
        AddressGuard()(address, 80)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "name", "", "1.2.3", "fd00::/129"])
def test_a_network_is_written_exactly(text: str) -> None:
    """10.0.0.1/8 could mean one machine or sixteen million."""
    with pytest.raises(BadRequest):
        parse_network(text)


def resolves_to(monkeypatch: pytest.MonkeyPatch, responses: list[list[str]]) -> None:
    """The look-ups of names answer one after the other, the last one for ever."""

    async def resolve(
        self: object, host: str, port: int = 0, family: int = 0
    ) -> list[dict[str, Any]]:
        found = responses.pop(0) if len(responses) > 1 else responses[0]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in found
        ]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
