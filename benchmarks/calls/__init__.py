"""Calls that users make every day or get wrong, for ``python -m benchmarks.bad_calls``."""
