"""The sections of ``benchmarks/pruning.py``: coverage, speed and accuracy without channels."""
