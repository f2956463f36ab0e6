"""Sluice's HTTP floor: routes, answers and their log, events, the way from a question to rows."""

__version__ = "0.1.0"
