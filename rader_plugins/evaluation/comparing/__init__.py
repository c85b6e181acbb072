"""Runs side by side: intervals, paired tests, tables and charts."""

from rader_plugins.evaluation.comparing.comparison import Comparison, compare
from rader_plugins.evaluation.comparing.groups import Group
from rader_plugins.evaluation.comparing.significance import PairedTest, confidence_interval, paired_test

__all__ = ["Comparison", "Group", "PairedTest", "compare", "confidence_interval", "paired_test"]
