"""A scripted server of a fixed speed, and a plain client that keeps a server busy."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from rader_plugins.http_client import ServerClient

Answer = Callable[[dict[str, Any], random.Random], str]


async def serve(latency: float, slots: int, said: Answer) -> None:
    """Answer chat requests with what ``said`` makes of their JSON, each after ``latency``
    seconds in one of the slots; say the port on the first line.
    """
    free = asyncio.Semaphore(slots)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                body = json.loads(await reader.readexactly(length))
                async with free:
                    await asyncio.sleep(latency)
                choices = [
                    {
                        "message": {
                            "role": "assistant",
                            "content": said(body, random.Random(body.get("seed", 0) + at)),
                        },
                        "finish_reason": "stop",
                    }
                    for at in range(body.get("n", 1))
                ]
                content = json.dumps(
                    {"choices": choices, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
                ).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content)
                    + content
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@contextmanager
def scripted(script: str, latency: float, slots: int) -> Iterator[str]:
    """Run a benchmark with ``--serve`` in another process, which then calls :func:`serve`; yields its URL."""
    command = [sys.executable, script, "--serve", "--latency", str(latency), "--slots", str(slots)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def recorded() -> Iterator[list[dict[str, Any]]]:
    """Note the JSON of every request that is sent."""
    sent: list[dict[str, Any]] = []
    post = ServerClient.post

    def noting(self: ServerClient, payload: dict[str, Any], *more: Any) -> Any:
        sent.append(payload)
        return post(self, payload, *more)

    ServerClient.post = noting  # type: ignore[method-assign]
    try:
        yield sent
    finally:
        ServerClient.post = post  # type: ignore[method-assign]


def plain(url: str, payloads: list[dict[str, Any]], slots: int) -> float:
    """Send requests from ``slots`` threads, each as soon as the one before is answered; return the seconds."""
    local = threading.local()
    clients: list[httpx.Client] = []

    def send(payload: dict[str, Any]) -> None:
        if not hasattr(local, "client"):
            local.client = httpx.Client(timeout=600.0)
            clients.append(local.client)
        endpoint = "completions" if "prompt" in payload else "chat/completions"
        try:
            answer = local.client.post(f"{url}/v1/{endpoint}", json=payload)
        except httpx.RemoteProtocolError:  # the server closed a connection that was kept for the next request
            answer = local.client.post(f"{url}/v1/{endpoint}", json=payload)
        answer.raise_for_status()

    started = time.perf_counter()
    with ThreadPoolExecutor(slots) as pool:
        list(pool.map(send, payloads))
    seconds = time.perf_counter() - started
    for client in clients:
        client.close()
    return seconds
