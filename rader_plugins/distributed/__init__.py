"""Building an index with many workers of Ray: shares of a source are read, encoded and written side by side."""

from rader_plugins.distributed.building import Building, build
from rader_plugins.distributed.shares import Share, open_shared_source, shares_of

__all__ = ["Building", "Share", "build", "open_shared_source", "shares_of"]
