"""Hostile input: what one client can send, and what the node and its other clients feel of it."""
