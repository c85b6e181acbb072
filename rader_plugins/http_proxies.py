"""The proxies that the environment names: told in messages without user and password."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.request import getproxies, proxy_bypass

import httpx

__all__ = ["proxy_of", "unusable_settings"]

_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SOCKS = ("socks5", "socks5h")


def proxy_of(url: httpx.URL) -> str | None:
    """Return through which proxy requests to a URL go, and what names it; None where they go straight.

    Example:
        >>> proxy_of(httpx.URL("http://127.0.0.1/v1")) is None or "there is a proxy for this host"
        True
    """
    proxies = getproxies()
    for variable in (f"{url.scheme.upper()}_PROXY", "ALL_PROXY"):
        if address := proxies.get(variable.partition("_")[0].lower()):
            if proxy_bypass(url.host):
                return None
            parsed = _parsed(address)
            host = f"{parsed.host}:{parsed.port}" if parsed is not None and parsed.port else parsed and parsed.host
            return f"{host or 'a proxy'} ({variable})"
    return None


def unusable_settings() -> str | None:
    """Say which variable of the environment holds no proxy that can be used, and why; None if all do.

    What it holds is not repeated: it may be a password.
    """
    for variable, address in _addresses():
        parsed = _parsed(address)
        if parsed is None or not parsed.host or ("@" in address and not parsed.userinfo):
            return (
                f"{variable} holds no address of a proxy, such as http://user:password@proxy:3128 (in a password / is "
                "written %2F, # %23, @ %40 and : %3A)."
            )
        if parsed.scheme not in ("http", "https", *_SOCKS):
            return f"{variable} names a proxy of the kind {parsed.scheme}://; http://, https:// and socks5:// work."
        if parsed.scheme in _SOCKS and not _has_socks():
            return f"{variable} names a SOCKS proxy, which needs: pip install 'httpx[socks]'."
    return None


def _addresses() -> Iterator[tuple[str, str]]:
    if "*" in (host.strip() for host in getproxies().get("no", "").split(",")):
        return
    for variable in _VARIABLES:
        for name in (variable, variable.lower()):
            if address := os.environ.get(name, "").strip():
                yield name, address


def _parsed(address: str) -> httpx.URL | None:
    try:
        parsed = httpx.URL(address if "://" in address else f"http://{address}")
    except (httpx.InvalidURL, ValueError):
        return None
    return parsed if (parsed.port or 0) < 65536 else None


def _has_socks() -> bool:
    try:
        import socksio  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError:
        return False
    return True
