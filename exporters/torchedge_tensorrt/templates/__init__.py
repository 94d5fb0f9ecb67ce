"""Texts of a bundle."""
