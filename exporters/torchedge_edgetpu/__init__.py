"""Coral's Edge TPU: files that its compiler can take, counted by its rules; it is not run."""
