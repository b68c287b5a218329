"""Families of hostile input, all built from code and a seed: nothing is read from a file."""
