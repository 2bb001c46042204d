"""Claims as a name, rights, a folder and limits."""

from __future__ import annotations

import pytest

from sluiceway.errors import Forbidden
from sluiceway.server.access.web_tokens.claims import MOST_WORDS, ClaimRules
from sluiceway.server.settings.checked import Settings
from sluiceway.uploads.access.grant import Right


def rules(*claims: str, roles: tuple[str, ...] = (), **others: str) -> ClaimRules:
    settings = Settings(
        to=("memory:",),
        jwt_keys="https://id.example/",
        jwt_audience=("files",),
        jwt_claim=claims,
        jwt_role=roles,
        **others,  # type: ignore[arg-type]  # texts
    )
    return ClaimRules.of(settings)


def test_without_options_all_have_the_rights_and_folder_of_users() -> None:
    found = rules(user_rights="upload-only", user_prefix="{user}/").grant({"sub": "ann"})
    assert (found.owner, found.rights, found.prefix) == (
        *("ann", frozenset({Right.UPLOAD}), "ann/"),
    )


def test_a_claim_is_found_by_its_whole_name_before_its_dots_count() -> None:
    one = rules("rights=https://files.example/roles", "name=user.mail")
    claims = {"user": {"mail": "a@b.example"}, "https://files.example/roles": "read  list,x"}
    assert one.grant(claims).rights == {Right.READ, Right.LIST}
    assert one.grant(claims).owner == "a@b.example"
    assert one.grant({**claims, "user.mail": "c"}).owner == "c"


def test_words_are_roles_where_roles_are_named() -> None:
    one = rules("rights=groups", roles=("uid=0,ou=x=upload,read", "ops=admin"))
    assert one.grant({"sub": "a", "groups": ["uid=0,ou=x"]}).rights == {Right.UPLOAD, Right.READ}
    assert one.grant({"sub": "a", "groups": ["admin", 5, None, ["ops"]]}).rights == frozenset()
    assert one.grant({"sub": "a"}).rights == frozenset()
    assert one.grant({"sub": "a", "groups": "ops"}).is_admin


def test_words_beyond_the_bound_give_no_rights() -> None:
    words = ["x"] * (MOST_WORDS - 1) + ["read", "admin"]
    for given in (words, " ".join(words)):
        assert rules("rights=r").grant({"sub": "a", "r": given}).rights == {Right.READ}


def test_the_folder_of_the_claim_has_that_of_the_user_in_it() -> None:
    one = rules("prefix=tenant", user_prefix="{user}/")
    for folder in ("acme", "acme/"):
        assert one.grant({"sub": "ann", "tenant": folder}).prefix == "acme/ann/"
    for bad in ("", "/", "../x", "a/../b", "/etc", "a//b", "a\nb", 5, None):
        with pytest.raises(Forbidden):
            one.grant({"sub": "ann", "tenant": bad})


def test_an_address_that_nobody_checked_is_no_name() -> None:
    one = rules("name=email")
    assert one.grant({"email": "a@b.example", "email_verified": True}).owner == "a@b.example"
    for value in (False, "false", None, 0):
        with pytest.raises(Forbidden):
            one.grant({"email": "a@b.example", "email_verified": value})
