"""The sections of ``benchmarks/quantization.py``: each compares torchedge with its peers."""
