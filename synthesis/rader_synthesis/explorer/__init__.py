"""Search trees and trajectories as one HTML page that needs nothing but itself."""

from rader_synthesis.explorer.page import PageReport, write_page
from rader_synthesis.explorer.reading import Shown, read_source

__all__ = ["PageReport", "Shown", "read_source", "write_page"]
