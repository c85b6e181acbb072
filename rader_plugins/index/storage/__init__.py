"""What an index keeps: a database of documents, terms and commits, and shards of vectors beside it.

All SQL is here: :mod:`.schema` (tables, formats, conversion of old ones), :mod:`.store` (look-ups) and :mod:`.changes`
(what a commit consists of).
"""

from rader_plugins.index.storage.changes import Changes, Derived
from rader_plugins.index.storage.schema import FORMAT_VERSION
from rader_plugins.index.storage.shards import FileShards, MemoryShards, Shard, Shards, checksum
from rader_plugins.index.storage.store import IndexState, Store, StoredText

__all__ = [
    "FORMAT_VERSION",
    "Changes",
    "Derived",
    "FileShards",
    "IndexState",
    "MemoryShards",
    "Shard",
    "Shards",
    "Store",
    "StoredText",
    "checksum",
]
