"""Texts of the projects that are written."""
