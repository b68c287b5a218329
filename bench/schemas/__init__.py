"""Ordinary JSON schemas, and whether a server holds its answers to each of them or refuses it by name."""
