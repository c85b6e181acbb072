"""Proxies work, or it is said which of them does not and why; their passwords and our keys are in no message."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rader_plugins import load_encoder
from rader_plugins.errors import RaderError
from tests.support.http_server import AnsweringServer, HTTPRequest, Reply
from tests.support.proxy import Proxy

USER, PASSWORD = "me", "pa55 w:ö@/#"
IN_URL = "me:pa55%20w%3A%C3%B6%40%2F%23"
KEY = "sk-a-key-of-ours"
SOCKS = pytest.mark.skipif(importlib.util.find_spec("socksio") is None, reason="needs socksio")
HTTP = "http://models.example/v1"
HTTPS = "https://models.example/v1"


def answer(request: HTTPRequest) -> Reply:
    assert not [name for name in request.headers if name.startswith("proxy-")], "the password is for the proxy alone"
    return Reply({"data": [{"index": n, "embedding": [1.0, len(t)]} for n, t in enumerate(request.body["input"])]})


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="module")
def server() -> Iterator[AnsweringServer]:
    with AnsweringServer(answer) as server:
        yield server


def encode(url: str) -> tuple[int, ...]:
    encoder = load_encoder(url, recipe="plain", model="m", timeout=20, max_retries=0)
    shape: tuple[int, ...] = encoder.encode_queries(["abc"]).shape
    return shape


def failure(url: str) -> str:
    with pytest.raises(RaderError) as caught:
        encode(url)
    message = str(caught.value)
    assert KEY not in message
    assert "pa55" not in message
    return message


@pytest.mark.parametrize(
    ("variable", "scheme"),
    [
        ("HTTP_PROXY", "http://"),
        ("http_proxy", "http://"),
        ("http_proxy", ""),
        ("ALL_PROXY", "http://"),
        pytest.param("ALL_PROXY", "socks5://", marks=SOCKS),
        pytest.param("http_proxy", "socks5h://", marks=SOCKS),
    ],
)
@pytest.mark.parametrize("login", [False, True])
def test_a_proxy_is_gone_through(
    monkeypatch: pytest.MonkeyPatch, server: AnsweringServer, variable: str, scheme: str, login: bool
) -> None:
    with Proxy(server.port, **({"user": USER, "password": PASSWORD} if login else {})) as proxy:
        monkeypatch.setenv(variable, f"{scheme}{f'{IN_URL}@' if login else ''}{proxy.address}")
        assert encode(HTTP) == (1, 2)
        assert [target.partition(":")[0] for target in proxy.targets] == ["models.example"], "and it finds the host"
        monkeypatch.setenv("NO_PROXY", "localhost, .example")
        assert "proxy 127" not in failure(HTTP)
        assert len(proxy.targets) == 1


def test_a_tunnel_carries_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command for a certificate")
    file = tmp_path / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", file, "-out", tmp_path / "c.pem"]
        + ["-days", "2", "-subj", "/CN=models.example", "-addext", "subjectAltName=DNS:models.example"],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + (tmp_path / "c.pem").read_text())
    with AnsweringServer(answer, str(file)) as server, Proxy(server.port, user=USER, password=PASSWORD) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{IN_URL}@{proxy.address}")
        assert "SSL_CERT_FILE" in failure(HTTPS)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "c.pem"))
        assert encode(HTTPS) == (1, 2)
        assert set(proxy.targets) == {"models.example:443"}
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("url", [HTTP, HTTPS])
@pytest.mark.parametrize("scheme", ["http", pytest.param("socks5", marks=SOCKS)])
@pytest.mark.parametrize("login", ["", "me:pa55wrong@"])
def test_a_wrong_password_of_a_proxy_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, url: str, scheme: str, login: str
) -> None:
    with Proxy(9, user=USER, password=PASSWORD) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{login}{proxy.address}")
        message = failure(url)
        assert "The proxy wants a user and a password" in message
        assert f"through the proxy {proxy.address} (ALL_PROXY)" in message
        assert proxy.refused == 1


@pytest.mark.parametrize("status", [403, 502])
@pytest.mark.parametrize("url", [HTTP, HTTPS])
def test_what_a_proxy_refuses_is_told_with_its_address(monkeypatch: pytest.MonkeyPatch, url: str, status: int) -> None:
    with Proxy(9, status=status) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://me:pa55@{proxy.address}")
        message = failure(url)
        assert str(status) in message
        assert f"through the proxy {proxy.address} (ALL_PROXY)" in message


@pytest.mark.parametrize("scheme", ["http", pytest.param("socks5", marks=SOCKS)])
def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    with socket.socket() as bound:  # nobody else can listen there, and it does not itself
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        monkeypatch.setenv("HTTP_PROXY", f"{scheme}://me:pa55@{address}")
        assert f"through the proxy {address} (HTTP_PROXY)" in failure(HTTP)


@pytest.mark.parametrize(
    "address",
    [
        "http://me:pa55/a@proxy:1",
        "http://me:12#pa55@proxy:1",
        "http://me:pa55@[::1",
        "http://me:pa55@",
        "http://me:pa55@p:99999",
    ]
    + ["http://me:pa55?a@proxy", "socks4://me:pa55@proxy:1", "quic://me:pa55@proxy:1", "http://me:pa55@proxy:port"],
)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_what_is_no_proxy_is_named_by_its_variable_alone(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str
) -> None:
    monkeypatch.setenv(variable, address)
    message = failure(HTTP)
    assert variable in message
    assert ":12" not in message
    monkeypatch.setenv("NO_PROXY", "*")
    assert variable not in failure(HTTP)


def test_socks_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://me:pa55@proxy:1080")
    assert "pip install 'httpx[socks]'" in failure(HTTP)
