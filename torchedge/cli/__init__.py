"""The command line: ``torchedge export | benchmark | compare | targets`` and plugins' commands."""

from torchedge.cli.app import main, run_recipe

__all__ = ["main", "run_recipe"]
