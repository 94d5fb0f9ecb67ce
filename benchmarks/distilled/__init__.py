"""The sections of ``benchmarks/distillation.py``."""
