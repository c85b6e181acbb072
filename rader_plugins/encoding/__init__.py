"""Encoders: from texts to vectors, on this machine or through an embedding server."""

from rader_plugins.encoding.base import Encoder, Vectors
from rader_plugins.encoding.load import load_encoder

__all__ = ["Encoder", "Vectors", "load_encoder"]
