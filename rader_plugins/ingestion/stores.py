"""Objects of the stores that fsspec knows (``s3://``, ``gs://``, ``az://``, ``https://``, ...), in the place of files.

Credentials come from the environment, as fsspec and the library of each store read them. What of them stands in a URL
is used, and never shown.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from rader_plugins.arguments import check_path, expand_path
from rader_plugins.errors import InputError, MissingExtraError, SourceError, import_extra
from rader_plugins.ingestion.store_urls import AZURE, WEB, check_url, scrub, shown_location, split_url

__all__ = [
    "LocalCopy",
    "Location",
    "Store",
    "StorePath",
    "absolute",
    "information_of",
    "read_location",
    "tag_of",
]

T = TypeVar("T")
_LOCAL = ("file", "local")
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(AZURE, "adlfs"),
    **dict.fromkeys(WEB, "aiohttp requests"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    "oci": "ocifs",
    "oss": "ossfs",
    "smb": "smbprotocol",
    "webdav": "webdav4",
}
_LARGEST = 1 << 30  # bytes of an object that is read as a whole
_WAITS = (0.5, 2.0)  # seconds before another try
_SILENCE = 60.0  # seconds without an answer of a web server
_BUFFER, _BLOCK = 1 << 20, 1 << 20
_BUSY = (429, 502, 503, 504)
# Names of errors that say that a store is not reached; of builtins, aiohttp, botocore and fsspec.
_UNREACHABLE = {"ConnectionError", "ClientConnectionError", "ClientPayloadError", "HTTPClientError", "TimeoutError"}


@dataclass(frozen=True)
class Store:
    """A store, opened by whoever reads: in each process anew.

    Attributes:
        protocol: Name by which fsspec knows it.
        url: What the user named, from which fsspec takes the host.
        shown: The same as it may stand in messages, ids and files.
    """

    protocol: str
    url: str = field(repr=False)
    shown: str

    @property
    def _kind(self) -> Any:
        registry = import_extra("fsspec.registry", "stores")
        try:
            return registry.get_filesystem_class(self.protocol)
        except ValueError:
            raise InputError(f"{self.shown} is no URL of documents: fsspec knows no {self.protocol}://.") from None
        except ImportError as error:
            package = _PACKAGES.get(self.protocol)
            cure = f"pip install {package}" if package else str(error)
            raise MissingExtraError(f"{self.protocol}:// needs a package of its own. To mend it: {cure}") from error

    @property
    def system(self) -> Any:
        """The file system of fsspec.

        Raises:
            InputError: fsspec does not know the protocol, or it cannot be opened.
            MissingExtraError: Its package is not installed.
        """
        kind = self._kind
        try:
            return kind(**kind._get_kwargs_from_urls(self.url), **self._web_options())
        except Exception as error:  # noqa: BLE001 - each library has its own
            raise InputError(f"{self.shown} cannot be opened: {self._text(error)}.") from None

    def _web_options(self) -> dict[str, Any]:
        """Return what fsspec needs to know of web servers: links, and unless it is configured, proxies and timeouts."""
        if self.protocol not in WEB:
            return {}
        options: dict[str, Any] = {"simple_links": False}  # what a page links to, and no other URLs in its text
        if "client_kwargs" not in import_extra("fsspec.config", "stores").conf.get(self.protocol, {}):
            timeout = import_extra("aiohttp", "stores").ClientTimeout(sock_connect=_SILENCE, sock_read=_SILENCE)
            options["client_kwargs"] = {"trust_env": True, "timeout": timeout}
        return options

    @property
    def root(self) -> str:
        """What fsspec calls the object or folder that the user named."""
        return self.url if self.protocol in WEB else str(self._kind._strip_protocol(self.url))

    def call(self, action: Callable[[Any], T]) -> T:
        """Do something with the file system, again where the store was not reached.

        Raises:
            SourceError: The store is not reached.
            OSError: It refuses; the message says why, without what is secret in the URL.
        """
        for wait in _WAITS if self.protocol in WEB else ():  # the libraries of others try again by themselves
            with contextlib.suppress(SourceError), self.faults():
                return action(self.system)
            time.sleep(wait)
        with self.faults():
            return action(self.system)

    @contextlib.contextmanager
    def faults(self) -> Iterator[None]:
        """Make errors of ours of those of a store, which are of as many kinds as there are libraries.

        Raises:
            SourceError: The store is not reached.
            OSError: It refuses.
        """
        try:
            yield
        except (InputError, MissingExtraError, SourceError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - each library has its own
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # of this machine
            chain = list(_chain(error))
            status = next((code for cause in chain if isinstance(code := getattr(cause, "status", None), int)), None)
            cause = next(filter(_is_unreachable, chain), None)
            if cause is not None or status in _BUSY:
                reason = self._text(cause) if cause is not None else f"status {status}"
                raise SourceError(
                    f"{self.shown} does not answer ({reason}). What was stored until now stays: the same command goes "
                    "on from there."
                ) from None
            raise OSError(self._reason(chain, status)) from None

    def _reason(self, chain: list[BaseException], status: int | None) -> str:
        if status in (401, 403) or any(isinstance(error, PermissionError) for error in chain):
            return "no permission; credentials come from the environment"
        if status in (404, 410) or (status is None and isinstance(chain[0], FileNotFoundError)):
            return "it is not there"
        return self._text(chain[0]) if status is None else f"its server answers with status {status}"

    def _text(self, error: BaseException) -> str:
        """Return what an error says, without what is secret in the URL."""
        return scrub(str(error), self.url) or type(error).__name__


@dataclass(frozen=True)
class StorePath:
    """A folder or an object of a store, where a :class:`~pathlib.Path` stands for a file.

    Attributes:
        store: The store that it is in.
        inner: Its path below what the user named, with ``/``; the last part of its name where it is that itself, and
            "" for a folder that is.
        key: What fsspec calls it; None for what the user named.
        size: Its length in bytes when it was listed; None if that is unknown.
        tag: What is another one once its content is; None where the store has nothing of that kind.
        copy: Its content on this machine, for what is read more than once.
    """

    store: Store
    inner: str = ""
    key: str | None = None
    size: int | None = None
    tag: str | None = None
    copy: LocalCopy | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """Return its URL as it may be shown."""
        return self.store.shown if self.key is None else f"{self.store.shown.rstrip('/')}/{self.inner}"

    @property
    def name(self) -> str:
        """The last part of its name."""
        return self.inner.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """Ending of its name, with the full stop; "" without one."""
        return PurePosixPath(self.name).suffix

    @property
    def address(self) -> str:
        """What fsspec calls it, with what is secret in it."""
        return self.store.root if self.key is None else self.key

    def read_bytes(self) -> bytes:
        """Return its content.

        Raises:
            SourceError: The store is not reached.
            OSError: It cannot be read, or is too large.
        """
        if self.size is None:
            with self.copied().open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                return _checked(size, stream.read)
        return _checked(self.size, lambda: self.store.call(lambda system: bytes(system.cat_file(self.address))))

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open it for reading; errors of the stream are the store's own: see :meth:`Store.faults`.

        Raises:
            SourceError: The store is not reached.
            OSError: It cannot be read.
        """
        if self.copy is None and self.store.protocol in WEB:  # not every server gives parts of a file
            return self.copied().open(mode)
        if self.copy is not None:
            return self.copy.path(self).open("rb")
        # Each request reads ahead by a block, of which s3fs has 50 MB: a share of rows has 4.
        stream = self.store.call(lambda system: system.open(self.address, "rb", block_size=_BLOCK))
        is_plain = isinstance(stream, io.BytesIO | io.BufferedReader)
        return stream if is_plain else io.BufferedReader(stream, _BUFFER)

    def copied(self) -> StorePath:
        """Return it with a copy on this machine, which is made when it is first opened and ends with what uses it."""
        return self if self.copy is not None else replace(self, copy=LocalCopy())

    def with_state(self) -> StorePath:
        """Return it with the length and the tag that it has now.

        Raises:
            SourceError: The store is not reached.
            OSError: It is not there, or its state cannot be told.
        """
        information = self.store.call(information_of(self.address))
        return replace(self, size=information.get("size"), tag=tag_of(self.store, information))


Location = Path | StorePath
"""A file or folder, or an object or folder of a store."""


class LocalCopy:
    """The content of an object in a temporary file."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[LocalCopy], tuple[()]]:
        return LocalCopy, ()  # another process makes its own

    def path(self, of: StorePath) -> Path:
        """Return the file, and fetch it first if that was not done yet.

        Raises:
            SourceError: The store is not reached.
            OSError: It cannot be read, or there is no room.
        """
        with self._lock:
            if self._path is None:
                handle, name = tempfile.mkstemp(prefix="rader-object-", suffix=of.suffix)
                os.close(handle)
                removal = weakref.finalize(self, Path(name).unlink, missing_ok=True)
                try:
                    of.store.call(lambda system: system.get_file(of.address, name))
                except BaseException:
                    removal()  # who holds this object may be killed before it is freed
                    raise
                self._path = Path(name)
            return self._path


def read_location(location: str | os.PathLike[str] | StorePath) -> Location:
    """Return what a user names as a file or folder: a path, or the URL of an object or of a folder of a store.

    ``~`` and environment variables of a path are replaced. ``file://`` gives a path.

    Raises:
        InputError: It is a URL that cannot be read from; the message is without what is secret in it.

    Example:
        >>> str(read_location("https://me:secret@host/a.jsonl?token=secret"))
        'https://host/a.jsonl'
    """
    if isinstance(location, StorePath):
        return location
    parts = split_url(location) if isinstance(location, str) else None
    if parts is None or Path(location).exists():
        path = check_path(location, "path")
        if "::" in str(path) and "://" in str(location) and not path.exists():
            raise InputError("A chain of URLs (::) is not read: name the object or folder itself.")
        return expand_path(path)
    protocol, names = parts
    if protocol in _LOCAL:
        return expand_path(check_path(re.sub(r"^localhost(?=/)", "", names), "path"))
    check_url(protocol, names)
    url = f"{protocol}://{names.partition('#')[0] if protocol in WEB else names}"
    store = Store(protocol, url, shown_location(url))
    registry = import_extra("fsspec.registry", "stores")
    if protocol not in registry.known_implementations and protocol not in registry.registry:
        raise InputError(f"{store.shown} is no URL of documents: fsspec knows no {protocol}://.")
    return StorePath(store)


def absolute(location: Location) -> str:
    """Return an absolute path, with links as they are, or the URL as it may be shown."""
    if isinstance(location, StorePath):
        return str(location).rstrip("/")
    return os.path.abspath(location)  # noqa: PTH100


def information_of(address: str) -> Callable[[Any], Mapping[str, Any]]:
    """Return what asks a file system about an object or a folder as it is now; see :meth:`Store.call`."""

    def ask(system: Any) -> Mapping[str, Any]:
        system.invalidate_cache()
        information: Mapping[str, Any] = system.info(address)
        return information

    return ask


def tag_of(store: Store, information: Mapping[str, Any]) -> str | None:
    """Return what is sure to be another one once the content of an object is; None where a store does not say.

    A web server may make its ETag of a time in whole seconds: that is not sure.
    """
    if store.protocol in WEB or store.protocol == "webdav":
        return None
    tag = next((str(information[name]) for name in ("ETag", "etag") if information.get(name)), None)
    return None if tag is None or tag.startswith("W/") else tag


def _checked(size: int, read: Callable[[], bytes]) -> bytes:
    if size > _LARGEST:
        raise OSError(f"{size:,} bytes: of a text no more than {_LARGEST:,} are read; split it, or make rows of it")
    return read()


def _is_unreachable(error: BaseException) -> bool:
    return bool(_UNREACHABLE & {kind.__name__ for kind in type(error).__mro__})


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
