"""Key sets: what counts of them, and that each key verifies its own algorithms alone."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from identity_provider import IdentityProvider, jwk, new_key
from sluiceway.client.http.tls import Trust
from sluiceway.errors import BadRequest, SluiceError, Unavailable
from sluiceway.server.access.web_tokens import key_url
from sluiceway.server.access.web_tokens.key_file import KeyFile
from sluiceway.server.access.web_tokens.key_url import LARGEST_SET, KeyUrl, fetch_keys
from sluiceway.server.access.web_tokens.keys import MOST_KEYS, parse_keys
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting

EC, RSA, ED = new_key("ES256"), new_key("RS256"), new_key("EdDSA")
SECRET = urlsafe_b64encode(b"s" * 32).decode().rstrip("=")


def set_of(*keys: object) -> str:
    return json.dumps({"keys": keys})


def test_each_key_verifies_the_algorithms_of_its_kind() -> None:
    found = parse_keys(
        set_of(*(jwk(key, kid=name) for name, key in zip("abc", (EC, RSA, ED), strict=True)))
    )
    assert [sorted(key.algorithms) for key in found.keys] == [
        ["ES256"],
        ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"],
        ["EdDSA"],
    ]
    narrow = parse_keys(set_of(jwk(RSA, kid="r", alg="PS256")))
    assert narrow.fitting("r", "PS256")
    assert not narrow.fitting("r", "RS256")
    assert not narrow.fitting("other", "PS256")
    assert narrow.fitting(None, "PS256")
    assert [key.id for key in parse_keys(json.dumps(jwk(EC, kid="alone"))).keys] == ["alone"]
    pem = "".join(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for key in (EC, RSA)
    )
    assert len(parse_keys(pem).keys) == 2
    assert parse_keys(pem).fitting("any", "ES256")


def test_keys_that_are_not_for_us_are_left_out() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    others: list[object] = [
        jwk(EC, use="enc"),
        jwk(EC, key_ops=["deriveKey"]),
        jwk(EC, alg="HS256"),
        jwk(RSA, alg="RSA-OAEP"),
        jwk(RSA, alg="none"),
        jwk(RSA, alg=["RS256"]),
        jwk(EC, kid=5),
        jwk(EC, d="AAAA"),
        jwk(weak),
        {"kty": "oct", "k": SECRET, "alg": "HS256"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": ["P-256"]},
        {"kty": "RSA", "n": 5, "e": None},
        {"kty": "new-kind"},
        {},
        "text",
        None,
    ]
    found = parse_keys(set_of(*others, jwk(EC, kid="good")))
    assert [key.id for key in found.keys] == ["good"]
    assert found.left_out == len(others)
    with pytest.raises(BadRequest, match="no key that can be used"):
        parse_keys(set_of(*others))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither JSON nor PEM"),
        ("<html>", "neither JSON nor PEM"),
        ("[" * 100_000, "neither JSON nor PEM"),
        ("[]", "not a JWK set"),
        ('{"keys": 5}', "not a list"),
        ('{"keys": []}', "no key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "no key"),
        (set_of(*[{}] * (MOST_KEYS + 1)), "more than"),
    ],
)
def test_what_is_no_key_set_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse_keys(text)


def test_a_secret_counts_only_from_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    """And only where its algorithm is named."""
    path = tmp_path / "keys"
    path.write_text(set_of({"kty": "oct", "k": SECRET}, {"kty": "oct", "k": "c2hvcnQ"}))
    path.chmod(0o600)
    assert len(asyncio.run(KeyFile(str(path)).keys_for(None)).fitting(None, "HS256")) == 1
    for mode, words in ((0o644, "no key"), (0o666, "chmod go-w")):
        path.chmod(mode)
        with pytest.raises(BadSetting, match=words):
            KeyFile(str(path))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_keys_are_fetched_again_when_they_are_old_and_count_for_a_day() -> None:
    clock = Clock()
    with IdentityProvider() as provider:
        source = KeyUrl(provider.url, Trust(), clock)
        (kid,) = provider.keys
        fetched = await asyncio.gather(*(source.keys_for(kid) for _ in range(20)))
        assert provider.hits == 1, "requests share a fetch"
        clock.now += key_url.REFRESH_AFTER + 1
        assert await source.keys_for(kid) is fetched[0], "nobody waits for the refresh"
        while await source.keys_for(kid) is fetched[0]:
            await asyncio.sleep(0.01)
        assert provider.hits == 2
        provider.status = 503
        clock.now += key_url.FORGET_AFTER - 1
        assert (await source.keys_for(kid)).has(kid)
        await source.aclose()
        clock.now += 2
        with pytest.raises(Unavailable):
            await source.keys_for(kid)
        assert source._is_fetching is False


async def test_tokens_of_unknown_keys_make_few_fetches() -> None:
    """At most one in ten seconds, and none for a moment after one that failed."""
    clock = Clock()
    with IdentityProvider() as provider:
        source = KeyUrl(provider.url, Trust(), clock)
        await source.keys_for("stranger")
        for _ in range(50):
            assert not (await source.keys_for("stranger")).has("stranger")
        assert provider.hits == 2
        clock.now += key_url.UNKNOWN_EVERY + 1
        provider.status = 500
        with pytest.raises(Unavailable):
            await source.keys_for("stranger")
        for _ in range(5):
            with pytest.raises(Unavailable):
                await source.keys_for("stranger")
        assert provider.hits == 3
        provider.status = 200
        clock.now += key_url.UNKNOWN_EVERY + 1
        assert not (await source.keys_for("stranger")).has("stranger")


async def test_a_request_that_is_given_up_ends_no_fetch_of_others() -> None:
    with IdentityProvider() as provider:
        provider.delay = 0.2
        source = KeyUrl(provider.url, Trust())
        gone, waiting = (asyncio.create_task(source.keys_for(None)) for _ in range(2))
        await asyncio.sleep(0.02)
        gone.cancel()
        assert (await waiting).keys
        assert provider.hits == 1


@pytest.mark.parametrize("fault", ["slow", "large", "redirect", "http elsewhere", "nothing there"])
async def test_a_fetch_has_a_deadline_and_a_bound(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with IdentityProvider() as provider:
        url = provider.url
        if fault == "slow":
            provider.delay = 30
            monkeypatch.setattr(key_url, "FETCH_TIMEOUT", 0.2)
        elif fault == "large":
            provider.padding = LARGEST_SET
        elif fault == "redirect":
            provider.status = 302
        elif fault == "http elsewhere":
            provider.url = "http://192.0.2.1/jwks.json"
            url = f"{provider.origin}/.well-known/openid-configuration"
        else:
            url = "http://127.0.0.1:9/"
        began = time.monotonic()
        with pytest.raises(SluiceError):
            await fetch_keys(url, Trust())
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"jwt_keys": "https://id.example/jwks"}, "needs --jwt-audience"),
        ({"jwt_keys": "https://id.example/jwks", "jwt_audience": ("a", "")}, "--jwt-audience"),
        ({"jwt_keys": "http://id.example/jwks", "jwt_audience": "a"}, "https"),
        ({"jwt_keys": "", "jwt_audience": "a"}, "empty"),
        ({"jwt_audience": "a"}, "without --jwt-keys"),
        ({"jwt_claim": "colour=x"}, "--jwt-claim takes"),
        ({"jwt_claim": ("name=a", "name=b")}, "each name once"),
        ({"jwt_claim": "name"}, "NAME=VALUE"),
        ({"jwt_role": "staff=upload"}, "rights=CLAIM"),
        ({"jwt_claim": "rights=x", "jwt_role": "staff=fly"}, "no right"),
        ({"jwt_algorithm": "none"}, "--jwt-algorithm takes"),
        (
            {"jwt_keys": "https://a.example/", "jwt_audience": "a", "jwt_algorithm": "HS256"},
            "only its owner reads",
        ),
        ({"jwt_header": "Authorization"}, "--jwt-header takes"),
        ({"jwt_leeway": 601.0}, "--jwt-leeway"),
        ({"jwt_leeway": float("nan")}, "--jwt-leeway"),
        (
            {
                "jwt_keys": "https://a.example/",
                "jwt_audience": "a",
                "jwt_header": "X-Jwt",
                "allow_origin": "*",
            },
            "every web site",
        ),
    ],
)
def test_settings_that_cannot_be_meant(options: dict[str, str], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        Settings(to=("memory:",), **options)  # type: ignore[arg-type]  # each has its own
