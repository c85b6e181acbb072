"""Proxies in this process: HTTP (absolute addresses and CONNECT) and SOCKS5, with or without user and password.

Whatever host is asked for, what is reached is one server on 127.0.0.1.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import threading
from types import TracebackType

__all__ = ["Proxy"]

_ANSWER = "HTTP/1.1 {} \r\nContent-Length: 0\r\nConnection: close\r\n{}\r\n"


class Proxy:
    """A proxy of both kinds: the first byte of a connection tells which is spoken.

    Args:
        port: Of the server on 127.0.0.1 that all requests reach.
        user, password: What it wants; None lets everybody pass.
        status: What it answers over HTTP instead of passing on.

    ``targets`` holds ``host:port`` of every request; ``refused`` counts those with a wrong user or password.
    """

    def __init__(
        self, port: int, *, user: str | None = None, password: str | None = None, status: int | None = None
    ) -> None:
        self.port = port
        self.user, self.password = user, password
        self.status = status
        self.targets: list[str] = []
        self.refused = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def address(self) -> str:
        """``host:port`` of the proxy."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            first = client.recv(1, socket.MSG_PEEK)
            (self._socks if first == b"\x05" else self._http)(client)

    def _http(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (part := client.recv(65536)):
                return
            head += part
        head, body = head.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        plain = [line for line in lines if line.lower().startswith("proxy-authorization")]
        sent = plain[0].split("Basic ", 1)[1] if plain else ""
        expected = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        self.targets.append(headers.get("host", target) if method != "CONNECT" else target)
        if self.user is not None and sent != expected:
            self.refused += 1
            client.sendall(_ANSWER.format("407", "Proxy-Authenticate: Basic\r\n").encode())
        elif self.status is not None:
            client.sendall(_ANSWER.format(self.status, "").encode())
        elif method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 \r\n\r\n")
            self._relay(client, b"")
        else:
            path = "/" + target.split("://", 1)[-1].partition("/")[2]
            passed = [f"{method} {path} HTTP/1.1", *(line for line in lines if line not in plain), "Connection: close"]
            self._relay(client, "\r\n".join(passed).encode("latin-1") + b"\r\n\r\n" + body)

    def _socks(self, client: socket.socket) -> None:
        _, count = client.recv(2)
        methods = client.recv(count)
        if self.user is not None:
            if 2 not in methods:
                self.refused += 1
                client.sendall(b"\x05\xff")
                return
            client.sendall(b"\x05\x02")
            client.recv(1)
            user = client.recv(client.recv(1)[0]).decode()
            password = client.recv(client.recv(1)[0]).decode()
            if (user, password) != (self.user, self.password):
                self.refused += 1
                client.sendall(b"\x01\x01")
                return
            client.sendall(b"\x01\x00")
        else:
            client.sendall(b"\x05\x00")
        kind = client.recv(4)[3]
        host = socket.inet_ntoa(client.recv(4)) if kind == 1 else client.recv(client.recv(1)[0]).decode()
        self.targets.append(f"{host}:{int.from_bytes(client.recv(2), 'big')}")
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        self._relay(client, b"")

    def _relay(self, client: socket.socket, first: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as server:
            server.sendall(first)
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (server if ready is client else client).sendall(data)
