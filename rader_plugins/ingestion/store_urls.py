"""URLs of stores: what they mean, and how they are shown without what is secret in them."""

from __future__ import annotations

import re
from urllib.parse import unquote

from rader_plugins.errors import InputError

__all__ = ["AZURE", "WEB", "check_url", "scrub", "shown_location", "split_url"]

WEB = ("http", "https")
AZURE = ("abfs", "abfss", "az", "adl", "wasb", "wasbs")
_WITH_USER = (*WEB, "ftp", "sftp", "ssh", "smb")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_CREDENTIALS = re.compile(r"\b([A-Za-z][\w+.-]*://)(?:[^\s/@'\"]*@)?([^\s?'\"<>]*)(\?[^\s'\"<>)]*)?")
_NO_PORT = re.compile(r":[^:\]]*[^:\]\d][^:\]]*$")
_LONGEST_REASON = 200  # characters


def split_url(text: str) -> tuple[str, str] | None:
    """Return the protocol, in lower case, and what stands behind ``://``; None for what is no URL."""
    match = _URL.fullmatch(text.strip())
    return None if match is None else (match[1].lower(), match[2])


def shown_location(url: str) -> str:
    """Return a URL without user, password and query: as it may stand in messages, ids and files.

    Example:
        >>> shown_location("https://me:secret@host/a.txt?token=secret"), shown_location("abfs://data@account/a.txt")
        ('https://host/a.txt', 'abfs://data@account/a.txt')
    """
    if (parts := split_url(url)) is None:
        return url
    protocol, names = parts
    host, slash, path = names.partition("/")
    if not _is_container(protocol, host):
        host = host.rpartition("@")[2]
    if protocol in WEB or _query(names):
        host, path = host.partition("?")[0], path.partition("?")[0]
    return f"{protocol}://{host}{slash}{path}"


def check_url(protocol: str, names: str) -> None:
    """Refuse a URL of which a part would not be used.

    Raises:
        InputError: It has such a part, or names nothing; the message is without what is secret in it.
    """
    host = names.partition("/")[0]
    if _NO_PORT.search(host.rpartition("@")[2]):  # a password with a slash, it may be
        raise InputError(
            f"What stands before the first / of the {protocol}:// URL is no host (it is not repeated here, since a "
            "password may stand in it); characters such as @ / # in a password are written as %40 %2F %23."
        )
    shown = shown_location(f"{protocol}://{names}")
    if not names.strip("/ ") and protocol != "memory":
        raise InputError(f"{shown} names no bucket or host: {protocol}://NAME/path.")
    if protocol not in WEB and _query(names):
        raise InputError(
            f"{shown}: what stands behind ? in a URL of {protocol}:// is not read. Credentials come from the "
            "environment; name the object or folder alone."
        )
    if "@" in host and protocol not in _WITH_USER and not _is_container(protocol, host):
        raise InputError(
            f"{shown}: a user or password in a URL of {protocol}:// is not read. Credentials come from the environment."
        )


def scrub(text: str, url: str) -> str:
    """Return the first line of a message without what is secret in a URL, or in others that stand in it."""
    text = next((line.strip() for line in text.splitlines() if line.strip()), "")
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return _CREDENTIALS.sub(r"\1\2", text)[:_LONGEST_REASON]


def _is_container(protocol: str, host: str) -> bool:
    """Whether what stands before the @ of a host is no user: container@account of Azure."""
    return protocol in AZURE and ":" not in host


def _query(names: str) -> str:
    """Return what stands behind ``?``, if that is no part of a name."""
    match = re.search(r"\?([^/?]*=.*)", names, re.DOTALL)
    return match[1] if match else ""


def _secrets(url: str) -> list[str]:
    protocol, names = split_url(url) or ("", "")
    host = names.partition("/")[0]
    user = "" if _is_container(protocol, host) else host.rpartition("@")[0]
    values = [user, *user.split(":", 1), _query(names), *(part.partition("=")[2] for part in _query(names).split("&"))]
    texts = {text for value in values for text in (value, unquote(value)) if len(text) > 3}
    return sorted(texts, key=len, reverse=True)
