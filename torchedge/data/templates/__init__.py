"""Texts of the sources that are written for devices."""
