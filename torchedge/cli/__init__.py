"""The command line: ``torchedge export | benchmark | targets``."""

from torchedge.cli.app import main

__all__ = ["main"]
