"""The sections of ``benchmarks/tickets.py``."""
