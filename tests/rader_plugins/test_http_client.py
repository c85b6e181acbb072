"""Addresses, keys, redirects, proxies, and which failures are tried again."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest

from rader_plugins.encoding.http import HTTPEncoder
from rader_plugins.errors import InputError, RaderError
from rader_plugins.http_client import ServerClient, ServerError
from rader_plugins.http_urls import endpoint_url, is_url, shown_url
from rader_plugins.llm import OpenAIChat
from tests.support.http_server import AnsweringServer, HTTPRequest, Reply

SECRETS = ("s3cret-key", "pa55word", "query-key")


def client(url: str, **options: Any) -> ServerClient:
    defaults: dict[str, Any] = {"api_key_env": "MY_KEY", "concurrency": 2, "timeout": 5.0, "max_retries": 3}
    return ServerClient(url, "/embeddings", remedies={}, backoff=0.0, **{**defaults, **options})


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/v1/embeddings"),
        ("/", "/v1/embeddings"),
        ("/v1", "/v1/embeddings"),
        ("/v1/embeddings", "/v1/embeddings"),
        ("/v1beta/openai", "/v1beta/openai/embeddings"),
        ("/v1beta/openai/", "/v1beta/openai/embeddings"),
        ("/api/v3", "/api/v3/embeddings"),
        ("/api/paas/v4", "/api/paas/v4/embeddings"),
        ("/openai/deployments/gpt?api-version=2024-06-01", "/openai/deployments/gpt/embeddings?api-version=2024-06-01"),
        ("/gateway", "/gateway/embeddings"),
        ("/gateway", "/gateway/v1/embeddings"),
        ("", "/embeddings"),
    ],
)
def test_what_works_as_a_base_url_elsewhere_works_here(base: str, path: str) -> None:
    def answer(request: HTTPRequest) -> Reply:
        return Reply({"data": []}) if request.path == path else Reply({"error": {"message": "not found"}}, 404)

    with AnsweringServer(answer) as server:
        own = client(server.url + base)
        own.post({})
        own.post({})
        assert server.requests[-2].path == server.requests[-1].path == path
        assert len(server.requests) <= 3, "which address it is, is found out once"


def test_addresses() -> None:
    assert endpoint_url("http://h", "/embeddings") == "http://h/v1/embeddings"
    assert is_url("HTTPS://h")
    assert not is_url("models/httpx")
    assert shown_url("https://u:pa55word@h/v1?key=query-key#x") == "https://h/v1"
    for wrong in ("http://u:pa/55word@h:x", "ftp://h", "http://", "h:1"):
        with pytest.raises(InputError) as caught:
            client(wrong)
        assert "55word" not in str(caught.value)


def told(error: BaseException | None) -> str:
    """Everything that a traceback would show of an error and what caused it."""
    parts = []
    while error is not None:
        parts.append(f"{error} {error.args!r}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return " ".join(parts)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500])
def test_keys_are_in_no_message_and_no_log(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", SECRETS[0])
    caplog.set_level(logging.DEBUG)

    def echo(request: HTTPRequest) -> Reply:
        return Reply({"error": {"message": f"no: {request.path} {request.headers}"}}, status)

    with AnsweringServer(echo) as server:
        plain = server.url.replace("http://", f"http://me:{SECRETS[1]}@") + f"/v1?key={SECRETS[2]}"
        for url, headers in ((server.url, None), (plain, None), (server.url, {"api-key": "${MY_KEY}"})):
            own = client(url, headers=headers, max_retries=1)
            with pytest.raises(ServerError) as caught:
                own.post({"a": 1})
            for secret in SECRETS:
                assert secret not in told(caught.value) + caught.value.said + own.url
    assert server.requests[-1].headers["api-key"] == SECRETS[0]
    for secret in SECRETS:
        assert secret not in caplog.text


@pytest.mark.parametrize(
    "ask",
    [
        lambda url, options: OpenAIChat(url, **options).chat([{"role": "user", "content": "a"}]),
        lambda url, options: HTTPEncoder(url, recipe="plain", **options).encode_queries(["a"]),
    ],
)
def test_a_server_that_echoes_what_it_got_makes_no_key_known(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the form of an unusable answer: its beginning is quoted."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRETS[0])
    extra = {"provider": {"api_key": SECRETS[1]}}
    headers = {"X-Gateway": "gateway-" + SECRETS[2]}
    forms: list[Callable[[Any], Any]] = [
        lambda told: told,
        lambda told: [told],
        lambda told: {"choices": told, "data": told},
        lambda told: {"choices": [told], "data": [told]},
        lambda told: {"choices": [{"message": {"content": told}}], "data": [{"index": 0, "embedding": told}]},
        lambda told: {"choices": [{"error": told}], "data": [{"index": 0, "embedding": [told]}]},
        lambda told: {"choices": [{"text": told}], "data": [{"index": 0, "embedding": [str(told)]}]},
        lambda told: {"error": told},
        lambda told: str(told),
    ]
    for form in forms:

        def echo(request: HTTPRequest, form: Callable[[Any], Any] = form) -> Reply:
            return Reply(form({**request.headers, **request.body}))

        options: Any = {"model": "m", "extra": extra, "headers": headers, "max_retries": 0}
        with AnsweringServer(echo) as server, pytest.raises(RaderError) as caught:
            ask(server.url, options)
        assert not [secret for secret in SECRETS if secret in told(caught.value)], str(caught.value)


@pytest.mark.parametrize(
    "extra", [{"a": float("nan")}, {"a": object()}, {1: "a"}, {"a": "\ud800"}, [("a", 1)], "a=1", {"a": {1, 2}}]
)
def test_fields_that_cannot_be_sent_are_refused_at_once(extra: Any) -> None:
    with pytest.raises(InputError, match="extra="):
        client("http://h", extra=extra)


def test_an_answer_that_cannot_be_unpacked_is_tried_again() -> None:
    replies = [Reply("no gzip", headers={"Content-Encoding": "gzip"}), Reply({"data": []})]
    with AnsweringServer(lambda request: replies[len(server.requests) - 1]) as server:
        assert client(server.url).post({}) == {"data": []}
    with (
        AnsweringServer(lambda request: replies[0]) as server,
        pytest.raises(ServerError, match="cannot be unpacked"),
    ):
        client(server.url).post({})


@pytest.mark.parametrize("key", ["s3cret\nkey", "s3cret-kéy", "s3cret\x00"])
def test_unusable_keys_are_refused_and_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key) if "\x00" not in key else None
    headers = {"X-Other": key} if "\x00" in key else None
    with AnsweringServer(lambda request: Reply({})) as server, pytest.raises(InputError) as caught:
        client(server.url, headers=headers).post({})
    assert "s3cret" not in told(caught.value)
    assert not server.requests


def test_a_missing_variable_of_a_header_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with AnsweringServer(lambda request: Reply({})) as server, pytest.raises(InputError, match="NO_SUCH_KEY"):
        client(server.url, headers={"api-key": "$NO_SUCH_KEY"}).post({})


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_on_the_same_host_are_followed_with_the_request(status: int) -> None:
    def answer(request: HTTPRequest) -> Reply:
        if request.path == "/new/embeddings":
            return Reply({"got": request.body, "method": request.method})
        return Reply("", status, {"Location": "/new/embeddings"})

    with AnsweringServer(answer) as server:
        assert client(server.url).post({"a": 1}) == {"got": {"a": 1}, "method": "POST"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_redirects_to_other_servers_are_named_and_get_no_key(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRETS[0])
    with AnsweringServer(lambda request: Reply({})) as other:
        target = other.url.replace("127.0.0.1", host) + "/v1/embeddings?key=query-key"
        with AnsweringServer(lambda request: Reply("", 307, {"Location": target})) as server:
            with pytest.raises(ServerError, match=f"redirects to http://{host}:") as caught:
                client(server.url).post({})
            assert len(server.requests) == 1
        assert caught.value.refused
        assert "query-key" not in str(caught.value)
        assert not other.requests
    with (
        AnsweringServer(lambda request: Reply("", 308, {"Location": request.path})) as server,
        pytest.raises(ServerError, match="redirects more than"),
    ):
        client(server.url).post({})


@pytest.mark.parametrize(
    "error",
    [
        {"message": "You exceeded your current quota, please check your plan", "code": "insufficient_quota"},
        {"message": "x", "type": "insufficient_quota"},
        {"message": "Insufficient balance"},
    ],
)
def test_a_quota_that_is_used_up_is_not_tried_again(error: Any) -> None:
    with AnsweringServer(lambda request: Reply({"error": error}, 429)) as server:
        with pytest.raises(ServerError, match="credit") as caught:
            client(server.url).post({})
        assert caught.value.refused
        assert len(server.requests) == 1
    with AnsweringServer(lambda request: Reply({"error": {"message": "too fast"}}, 429)) as server:
        with pytest.raises(ServerError):
            client(server.url).post({})
        assert len(server.requests) == 4


def test_an_unknown_host_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = []

    def unknown(*arguments: Any, **options: Any) -> Any:
        lookups.append(arguments)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ServerError, match="name of the host") as caught:
        client("http://no-such-host.invalid").post({})
    assert caught.value.refused
    assert len(lookups) == 1


def test_tls_where_there_is_none_is_not_tried_again() -> None:
    with AnsweringServer(lambda request: Reply({})) as server, pytest.raises(ServerError, match="http://"):
        client(server.url.replace("http://", "https://")).post({})


@pytest.mark.parametrize("proxy", ["socks9://me:pa55word@proxy:1", "ftp://me:pa55word@proxy"])
def test_proxies_that_cannot_be_used_are_refused_clearly(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(InputError, match="HTTP_PROXY") as caught:
        client("http://example.invalid").post({})
    assert "pa55word" not in told(caught.value)


def test_a_proxy_is_used_and_its_refusal_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with AnsweringServer(lambda request: Reply({"through": request.path})) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        answer = client("http://example.invalid").post({})
        assert answer == {"through": "http://example.invalid/v1/embeddings"}
    with AnsweringServer(lambda request: Reply("", 407)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with pytest.raises(ServerError, match="proxy wants a user"):
            client("http://example.invalid").post({})
        assert len(proxy.requests) == 1


def test_one_model_or_none() -> None:
    def listing(*names: str) -> Any:
        return lambda request: Reply({"data": [{"id": name} for name in names]})

    for names, expected in ((["m"], "m"), (["a", "b"], None), ([], None)):
        with AnsweringServer(listing(*names)) as server:
            assert client(server.url).only_model() == expected
    assert client("http://h/openai/deployments/gpt?api-version=1").only_model() == "gpt"
