"""Building an index with many workers of Ray: shares of a source are read, encoded and written side by side."""

from rader_plugins.distributed.building import Building, build
from rader_plugins.distributed.shares import (
    Share,
    check_names,
    open_shared_source,
    origin_of,
    shares_of,
    shares_of_all,
)

__all__ = [
    "Building",
    "Share",
    "build",
    "check_names",
    "open_shared_source",
    "origin_of",
    "shares_of",
    "shares_of_all",
]
