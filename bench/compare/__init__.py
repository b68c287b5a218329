"""Servers side by side: `python -m bench.compare --help`."""
