"""A web server of a folder, as `python -m http.server` is one: pages of links, no parts of files."""

from __future__ import annotations

import functools
import os
import threading
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.quiet_server import QuietServer


class FolderServer:
    """Serves a folder on 127.0.0.1.

    Attributes:
        statuses: Path of a request, as it is sent -> the status with which it is refused.
        is_down: Whether each connection is closed without an answer.
        requests: Path with query of each request, in order.
    """

    def __init__(self, folder: Path) -> None:
        self.statuses: dict[str, int] = {}
        self.requests: list[str] = []
        self.is_down = False
        server = self

        class Handler(SimpleHTTPRequestHandler):
            def handle(self) -> None:
                if not server.is_down:
                    super().handle()

            def send_head(self) -> Any:
                server.requests.append(self.path)
                if status := server.statuses.get(self.path.partition("?")[0]):
                    self.send_error(status)
                    return None
                return super().send_head()

            def log_message(self, *arguments: Any) -> None:
                pass

        self._http = QuietServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.host = f"127.0.0.1:{self._http.server_address[1]}"
        self.url = f"http://{self.host}/"

    def __enter__(self) -> FolderServer:
        self._environment = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
        os.environ.update(dict.fromkeys(self._environment, "127.0.0.1"))  # whatever proxy the tests are started with
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for name, value in self._environment.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        self._http.shutdown()
        self._http.server_close()
