"""The signature of a webhook, against the library of Standard Webhooks."""

from __future__ import annotations

import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from sluiceway.errors import BadRequest
from sluiceway.wire.events.webhooks import parse_secrets, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "QUJD" * 16


def test_receivers_accept_the_signature() -> None:
    body = '{"ü": 1}'.encode()
    headers = signed_headers(parse_secrets(SECRET), "evt_1", int(time.time()), body)
    assert Webhook(SECRET).verify(body, headers) == {"ü": 1}
    for wrong in (b"{}", body + b" "):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(wrong, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(body, headers)


def test_two_secrets_sign_while_one_replaces_the_other() -> None:
    keys = parse_secrets(f"{SECRET} {OTHER.removeprefix('whsec_')}\n")
    headers = signed_headers(keys, "evt_1", int(time.time()), b"{}")
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(b"{}", headers) == {}


@pytest.mark.parametrize("text", ["", " ", "whsec_", "password", "QUJD", f"{SECRET} x", "ü" * 40])
def test_a_secret_that_can_be_guessed_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        parse_secrets(text)
    assert not text.strip() or text not in raised.value.detail or text == "whsec_"
