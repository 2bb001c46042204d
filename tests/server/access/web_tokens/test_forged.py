"""Forged tokens: none opens anything, whatever its algorithm, header, bits or claims are."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.datastructures import Headers

from identity_provider import AUDIENCE, IdentityProvider, jwk, new_key
from sluiceway.errors import Forbidden, Unauthorized
from sluiceway.server.access.web_tokens import tokens as module
from sluiceway.server.access.web_tokens.tokens import LONGEST_TOKEN, WebTokens
from sluiceway.server.settings.checked import Settings
from sluiceway.uploads.access.grant import Grant

RSA: rsa.RSAPrivateKey = new_key("RS256")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unsigned(header: object, claims: object, signature: bytes = b"") -> str:
    return ".".join(
        [b64(json.dumps(part).encode()) for part in (header, claims)] + [b64(signature)]
    )


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as running:
        running.more = [jwk(RSA, kid="rsa")]
        yield running


@pytest.fixture
async def tokens(provider: IdentityProvider) -> WebTokens:
    settings = Settings(to=("memory:",), jwt_keys=provider.url, jwt_audience=(AUDIENCE,))
    return WebTokens(settings)


async def grant(tokens: WebTokens, token: str | bytes) -> Grant | None:
    secret = token.encode() if isinstance(token, str) else token
    return await tokens.grant(Headers({}), "", secret)


def confused(provider: IdentityProvider) -> Iterator[str]:
    """Signed with what everybody knows: nothing, or the public key as the secret of an HMAC."""
    claims = provider.claims()
    (kid, *_) = provider.keys
    for name in ("none", "None", "NONE", "nOnE", "", None, 5, ["RS256"], "HS256 "):
        yield unsigned({"alg": name, "kid": kid, "typ": "JWT"}, claims)
        yield unsigned({"alg": name, "kid": kid}, claims, b"x" * 64)
    public = RSA.public_key()
    known = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        json.dumps(jwk(RSA)).encode(),
        b"",
    ]
    for secret in known:
        for bits in ("256", "384", "512"):
            for key in ("rsa", kid, None):
                head = b64(json.dumps({"alg": f"HS{bits}", "kid": key}).encode())
                signed = f"{head}.{b64(json.dumps(claims).encode())}"
                mac = hmac.new(secret, signed.encode(), getattr(hashlib, f"sha{bits}")).digest()
                yield f"{signed}.{b64(mac)}"


def with_own_keys(provider: IdentityProvider) -> Iterator[str]:
    """Signed by a stranger, whose header says where to find the key."""
    stranger = new_key("ES256")
    own: dict[str, Any] = jwk(stranger, kid="own")
    for header in (
        {"kid": "rsa"},
        {"jwk": own},
        {"jwk": own, "kid": "own"},
        {"jku": "http://127.0.0.1:9/jwks.json", "kid": "own"},
        {"x5u": "http://127.0.0.1:9/cert.pem"},
        {"x5c": ["AAAA"]},
        {"kid": "../../etc/passwd"},
        {"kid": "' OR 1=1 --"},
        {"kid": ""},
        {"crit": ["exp"], "kid": next(iter(provider.keys))},
        {},
    ):
        yield jwt.encode(provider.claims(), stranger, "ES256", headers=header)
    kid, key = next(iter(provider.keys.items()))
    good = provider.claims()
    # psychic signatures (CVE-2022-21449): r and s are zero
    yield unsigned({"alg": "ES256", "kid": kid}, good, bytes(64))
    yield jwt.encode(good, RSA, "RS256", headers={"kid": kid})
    yield jwt.encode(good, key, "ES256", headers={"kid": kid, "crit": ["new-rule"], "new-rule": 1})
    yield jwt.encode(good, key, "ES256", headers={"kid": kid, "typ": "logout+jwt"})
    yield jwt.encode(good, key, "ES256", headers={"kid": kid, "typ": "secevent+jwt"})
    no_times: list[object] = [1e400, -1e400, "soon", "1e400", None, [], {}, True, 10**400]
    for exp in no_times:
        yield jwt_of(provider, {**good, "exp": exp})
    yield jwt_of(provider, {**good, "aud": {"files": 1}})
    yield jwt_of(provider, {**good, "aud": [["files"]]})
    yield jwt_of(provider, {**good, "nbf": 1e400})


def jwt_of(provider: IdentityProvider, claims: object) -> str:
    """Genuine, with claims that no library would write."""
    kid, key = next(iter(provider.keys.items()))
    return jwt.PyJWS().encode(json.dumps(claims).encode(), key, "ES256", headers={"kid": kid})


async def test_no_forged_token_opens_anything(
    provider: IdentityProvider, tokens: WebTokens
) -> None:
    found = await grant(tokens, provider.token())
    assert found is not None
    assert found.owner == "ann"
    for token in (*confused(provider), *with_own_keys(provider)):
        for sent in (token, token + "=", token.replace(".", "..", 1)):
            try:
                opened = await grant(tokens, sent)
            except (Unauthorized, Forbidden):
                continue
            assert opened is None, sent


async def test_shapes_that_are_no_token_are_refused_quickly(tokens: WebTokens) -> None:
    deep = b64(b'{"a":' + b"[" * 8000)
    for token in (
        "ey..",
        "ey.ey.ey",
        f"{deep}.e30.AA",
        f"eyJhbGciOiJFUzI1NiJ9.{deep}.AA",
        "eyJhbGciOiJFUzI1NiJ9.e30." + "A" * LONGEST_TOKEN,
        "eyJhbGciOiJFUzI1NiJ9.\xe4.AA",
        "ey%00.e30.AA",
    ):
        with pytest.raises(Unauthorized):
            await grant(tokens, token)
    for other in ("", "secret", "a.b.c", "ey.a", "ey.a.b.c", "eyJ.a.b.c.d"):
        assert await grant(tokens, other) is None


async def test_each_changed_bit_is_found(provider: IdentityProvider, tokens: WebTokens) -> None:
    """Any other character in any place, parts of two tokens together, and cuts."""
    chance = random.Random(15)
    good, other = provider.token(), provider.token(sub="eve")
    assert await grant(tokens, good)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=% "
    forged = [good[:cut] for cut in chance.sample(range(len(good)), 40)]
    for _ in range(300):
        at = chance.randrange(len(good))
        forged.append(good[:at] + chance.choice(letters) + good[at + 1 :])
    mixed = zip(good.split("."), other.split("."), strict=True)
    (h1, _), (p1, p2), (s1, s2) = mixed
    forged += [f"{h1}.{p1}.{s2}", f"{h1}.{p2}.{s1}", f"{h1}.{p1}.", f"{h1}..{s1}"]
    for token in forged:
        if token in (good, other):
            continue
        try:
            assert await grant(tokens, token) is None, token
        except Unauthorized:
            continue


async def test_a_secret_counts_where_its_algorithm_is_named(tmp_path: Path) -> None:
    path, secret = tmp_path / "keys", b"s" * 32
    path.write_text(json.dumps({"keys": [{"kty": "oct", "k": b64(secret)}, jwk(RSA, kid="rsa")]}))
    path.chmod(0o600)
    with_secret, without = (
        WebTokens(
            Settings(
                to=("memory:",), jwt_keys=str(path), jwt_audience=(AUDIENCE,), jwt_algorithm=names
            )
        )
        for names in (("HS256", "RS256"), ())
    )
    with IdentityProvider() as provider:
        token = jwt.encode(provider.claims(), secret, "HS256")
        found = await grant(with_secret, token)
        assert found is not None
        assert found.owner == "ann"
        with pytest.raises(Unauthorized):
            await grant(without, token)
        for forged in confused(provider):
            with pytest.raises(Unauthorized):
                await grant(with_secret, forged)


async def test_a_token_is_remembered_with_its_keys_and_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that ends, and one whose key is gone, is refused as if it had never been seen."""
    monkeypatch.setattr(module, "MOST_SEEN", 2)
    path = tmp_path / "keys"
    path.write_text(json.dumps(jwk(RSA, kid="rsa")))
    settings = Settings(
        to=("memory:",), jwt_keys=str(path), jwt_audience=(AUDIENCE,), jwt_leeway=0.0
    )
    tokens, now = WebTokens(settings), int(time.time())

    def signed(subject: str, end: int) -> str:
        claims = {"sub": subject, "aud": AUDIENCE, "exp": end}
        return jwt.encode(claims, RSA, "RS256", headers={"kid": "rsa"})

    short, long = signed("ann", now + 2), signed("bob", now + 600)
    for token in (short, long, short, long, signed("eve", now + 600)):
        assert await grant(tokens, token)
    assert len(tokens._seen) == 2
    while time.time() < now + 2:
        await asyncio.sleep(0.1)
    with pytest.raises(Unauthorized, match="expired"):
        await grant(tokens, short)
    assert await grant(tokens, long)
    path.write_text(json.dumps(jwk(new_key("RS256"), kid="rsa")))
    tokens.reload()
    with pytest.raises(Unauthorized):
        await grant(tokens, long)


async def test_a_new_key_without_an_id_counts_at_once_and_forged_tokens_make_no_requests() -> None:
    with IdentityProvider() as provider, IdentityProvider() as stranger:
        provider.has_ids = stranger.has_ids = False
        settings = Settings(to=("memory:",), jwt_keys=provider.url, jwt_audience=(AUDIENCE,))
        tokens = WebTokens(settings)
        assert await grant(tokens, provider.token()) is not None
        provider.rotate()
        assert await grant(tokens, provider.token()) is not None
        hits = provider.hits
        for _ in range(10):
            with pytest.raises(Unauthorized):
                await grant(tokens, stranger.token(sub=os.urandom(4).hex()))
        assert provider.hits <= hits + 1  # one more where the machine took seconds
        await tokens.aclose()
