"""Texts of the folders that are written."""
