"""An OpenAI-compatible chat server in this process, which answers by a script and can be told to misbehave."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any

from tests.support.quiet_server import QuietServer

ACTIONS = frozenset(
    ["ok", "400", "401", "404", "422", "429", "429-late", "500", "503", "drop", "hang"]
    + ["empty", "no-choices", "refusal", "filtered", "garbage", "error-200", "odd", "context", "no-model", "endless"]
)


class LLMServer:
    """Serves ``/v1/chat/completions``, ``/v1/completions`` and ``/v1/models`` on 127.0.0.1.

    Args:
        answer: Function from the request's JSON to the text of an answer, or to one of :data:`ACTIONS` with ``!``
            before it (``"!hang"``). It depends on nothing but the request, so neither do the answers on their order.
            Where a request has a seed and asks for several choices it is called once a choice, with the seed counted
            up as real servers do; ``"!endless"`` writes until ``max_tokens``.
        script: What to do with the first requests, in the order of their arrival (one of :data:`ACTIONS`);
            afterwards ``answer`` decides.
        models: Names that ``/v1/models`` lists.
        most_choices: A server that gives fewer choices than asked for (old llama.cpp gives one).
        slots: Requests that are worked on at once; the others wait. None: any number.
        refuse_n: Refuse requests for more choices than there are slots, as llama.cpp does.

    ``requests`` holds the JSON of every request and ``headers`` its headers; ``most`` is the largest number of
    requests that were there at once, those that waited for a slot included. With ``gate`` set to a barrier, each
    request waits until all parties are there. ``released`` lets the hanging ones go. ``refusal`` is what a failure
    with a status says.
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], str] | str = "Grade: 3",
        *,
        script: tuple[str, ...] = (),
        models: tuple[str, ...] = ("served",),
        most_choices: int = 100,
        slots: int | None = None,
        refuse_n: bool = False,
    ) -> None:
        self.answer = answer
        self.script = deque(script)
        self.models = models
        self.most_choices = most_choices
        self.slots = slots
        self.refuse_n = refuse_n
        self._free = threading.Semaphore(slots) if slots is not None else contextlib.nullcontext()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most = 0
        self.refusal: str | None = None
        self.gate: threading.Barrier | None = None
        self.released = threading.Event()
        self._now = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._send(200, {"data": [{"id": name} for name in server.models]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.requests.append(body)
                    server.headers.append(dict(self.headers))
                    action = server.script.popleft() if server.script else "ok"
                    server._now += 1
                    server.most = max(server.most, server._now)
                try:
                    if server.gate is not None:
                        server.gate.wait(timeout=20)
                    if action == "ok" and server.refuse_n and body.get("n", 1) > (server.slots or 1):
                        return self._act("too-many", "", body)
                    with server._free:
                        text = server._text(body)
                    if action == "ok" and text.startswith("!"):
                        action = text[1:]
                    self._act(action, text, body)
                finally:
                    with server._lock:
                        server._now -= 1

            def _act(self, action: str, text: str, body: dict[str, Any]) -> None:
                if action not in ACTIONS | {"too-many"}:
                    raise ValueError(f"there is no action {action!r}")
                if action == "drop":
                    self.close_connection = True
                elif action == "hang":
                    server.released.wait(timeout=30)
                    self.close_connection = True
                elif action == "429":
                    self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0"})
                elif action == "429-late":
                    self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "3600"})
                elif action == "context":
                    message = (
                        "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it"
                    )
                    self._send(400, {"error": {"code": 400, "message": message, "type": "exceed_context_size_error"}})
                elif action == "no-model":
                    self._send(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
                elif action == "too-many":
                    message = f"Field 'n': Value must be between 1 <= value <= {server.slots}, but got {body['n']}"
                    self._send(400, {"error": {"code": 400, "message": message, "type": "invalid_request_error"}})
                elif action.isdigit():
                    sent = self.headers.get("Authorization", "")
                    refusal = {"error": {"message": f"scripted failure {action} {sent}"}}
                    self._send(int(action), server.refusal or refusal)
                elif action == "garbage":
                    self._send(200, "<html>not json")
                elif action == "error-200":
                    self._send(200, {"error": {"message": "all is not well"}})
                elif action == "odd":
                    self._send(200, {"choices": [{"message": {"role": "assistant", "content": {"parts": 1}}}]})
                elif action == "no-choices":
                    self._send(200, {"choices": [], "usage": {"prompt_tokens": 1}})
                else:
                    self._send(200, server._completion(action, text, body, "/chat/" in self.path))

            def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
                content = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._http = QuietServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def _text(self, body: dict[str, Any]) -> str:
        return self.answer if isinstance(self.answer, str) else self.answer(body)

    def _completion(self, action: str, text: str, body: dict[str, Any], chat: bool) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        reason = "stop"
        if action == "endless":
            message["content"] = "word " * body.get("max_tokens", 1000)
            reason = "length"
        if action == "empty":
            message["content"] = None if chat else ""
        if action == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that."}
        if action == "filtered":
            reason = "content_filter"
        choices: list[dict[str, Any]] = []
        completion_tokens = 0
        for index in range(min(body.get("n", 1), self.most_choices)):
            if action == "ok" and index and "seed" in body:
                message = {**message, "content": self._text({**body, "seed": body["seed"] + index})}
            content = {"message": message} if chat else {"text": message["content"]}
            choices.append({"index": index, **content, "finish_reason": reason})
            completion_tokens += len((message["content"] or text).split())
        read = (
            len(body["prompt"].split()) if not chat else sum(len(turn["content"].split()) for turn in body["messages"])
        )
        usage = {"prompt_tokens": read, "completion_tokens": completion_tokens}
        return {"object": "chat.completion" if chat else "text_completion", "choices": choices, "usage": usage}

    def said(self) -> list[str]:
        """The prompt, or the last message, of every request."""
        return [
            request["prompt"] if "prompt" in request else request["messages"][-1]["content"]
            for request in self.requests
        ]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> LLMServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
