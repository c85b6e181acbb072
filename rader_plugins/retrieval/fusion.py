"""Score fusion; see :mod:`rader_plugins.fusion`, where it stands below index and retriever."""

from rader_plugins.fusion import fuse, z_scores

__all__ = ["fuse", "z_scores"]
