"""An identity provider for tests: a real HTTP server with a key set, and tokens signed by its keys.

with IdentityProvider() as provider:
    token = provider.token(sub="ann")        # signed by the newest key
    provider.rotate()                        # a new key; the old ones stay unless `forget`
    provider.status = 500                    # it is down
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

__all__ = ["AUDIENCE", "IdentityProvider", "jwk", "new_key"]

AUDIENCE = "files"


def new_key(algorithm: str) -> Any:
    """A private key for an algorithm of JWT."""
    if algorithm.startswith("ES"):
        curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
        return ec.generate_private_key(curves[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def jwk(key: Any, **members: object) -> dict[str, object]:
    """The public half of a key as a member of a JWK set."""
    kinds: dict[type, Any] = {
        rsa.RSAPublicKey: RSAAlgorithm,
        ec.EllipticCurvePublicKey: ECAlgorithm,
        ed25519.Ed25519PublicKey: OKPAlgorithm,
    }
    public = key.public_key()
    kind = next(kind for of, kind in kinds.items() if isinstance(public, of))
    found: dict[str, object] = json.loads(kind.to_jwk(public))
    found.pop("key_ops", None)
    return {**found, **members}


class IdentityProvider:
    """Runs while the block lasts."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.algorithm, self.status, self.delay, self.padding = algorithm, 200, 0.0, 0
        self.hits, self.keys = 0, dict[str, Any]()
        self.has_ids = True  # else keys and tokens have no kid
        self.more: list[dict[str, object]] = []  # other members of the set
        self.rotate()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.hits += 1
                provider.stopped.wait(provider.delay)
                body = provider.document(self.path).encode()
                self.send_response(provider.status)
                if provider.status == 302:
                    self.send_header("Location", "/jwks.json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.origin}/jwks.json"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def document(self, path: str) -> str:
        if path.endswith("openid-configuration"):
            return json.dumps({"issuer": self.origin, "jwks_uri": self.url})
        keys = [
            jwk(key, use="sig", alg=self.algorithm, **({"kid": kid} if self.has_ids else {}))
            for kid, key in self.keys.items()
        ]
        return json.dumps({"keys": [*keys, *self.more]}) + " " * self.padding

    def rotate(self, *, forget: bool = False) -> str:
        """Make a new key, which signs from now on. Returns its id."""
        if forget:
            self.keys.clear()
        kid = f"key-{len(self.keys)}-{time.monotonic_ns()}"
        self.keys[kid] = new_key(self.algorithm)
        return kid

    def claims(self, **claims: object) -> dict[str, object]:
        """Those of a good token; None leaves one out."""
        now = int(time.time())
        whole = {"sub": "ann", "aud": AUDIENCE, "iss": self.origin, "iat": now, "exp": now + 600}
        return {name: value for name, value in {**whole, **claims}.items() if value is not None}

    def token(self, **claims: object) -> str:
        """A token of the newest key."""
        kid, key = [*self.keys.items()][-1]
        headers = {"kid": kid} if self.has_ids else {}
        return jwt.encode(self.claims(**claims), key, self.algorithm, headers)
