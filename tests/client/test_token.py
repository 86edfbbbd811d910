"""The access token: where it comes from, and that it is new before it expires."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.client import NoAnswer, Token
from infra.client.token import LOCAL_TOKEN
from tests.loopback import Answer, Request, serving


def key(path: Path, token_uri: str) -> str:
    """A service account's key, whose tokens come from this address."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = path / "key.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": "it@p.iam.gserviceaccount.com",
                "private_key": pem.decode(),
                "private_key_id": "1",
                "project_id": "p",
                "token_uri": token_uri,
            }
        )
    )
    return str(file)


@pytest.mark.parametrize(("lasts", "fetched"), [(3600, 1), (310, 1), (290, 3)])
def test_a_token_is_replaced_before_it_expires(tmp_path: Path, lasts: int, fetched: int) -> None:
    """One that ends within five minutes is not used for another request."""
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        made = {"access_token": f"t{len(asked)}", "expires_in": lasts, "token_type": "Bearer"}
        return Answer(200, json.dumps(made).encode(), {"content-type": "application/json"})

    with serving(answer) as url:
        token = Token(environ={"GOOGLE_CREDENTIALS": key(tmp_path, f"{url}/token")})
        got = [token.get() for _ in range(3)]
    assert len(asked) == fetched
    assert got[-1] == f"t{fetched}"
    assert parse_qs(asked[0].body.decode())["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]


def test_a_key_as_text_is_taken_too(tmp_path: Path) -> None:
    made = json.dumps({"access_token": "t", "expires_in": 3600}).encode()
    with serving(lambda _: Answer(200, made, {"content-type": "application/json"})) as url:
        text = Path(key(tmp_path, f"{url}/token")).read_text()
        token = Token(environ={"GOOGLE_CREDENTIALS": text})
        assert token.headers() == {"authorization": "Bearer t"}
    assert not token.fixed


def test_on_this_machine_nobody_is_asked_and_no_token_is_sent(tmp_path: Path) -> None:
    token = Token(
        local=True,
        environ={
            "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.secret",
            "GOOGLE_CREDENTIALS": str(tmp_path / "none.json"),
        },
    )
    assert token.get() == LOCAL_TOKEN
    assert not token.fixed


def test_a_given_token_is_used_as_it_is() -> None:
    token = Token(environ={"GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.secret"})
    assert token.get() == "ya29.secret"
    assert token.fixed
    assert "secret" not in repr(token)


def test_without_credentials_it_says_how_to_get_some(tmp_path: Path) -> None:
    token = Token(environ={"GOOGLE_CREDENTIALS": str(tmp_path / "none.json")})
    with pytest.raises(NoAnswer, match=r"no Google credentials that work(.|\n)*application-default login"):
        token.get()
