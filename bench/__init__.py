"""Measurements that anybody can repeat: load, comparison, faults. Imports neither the server nor the engine."""
