"""The command line: ``torchedge export | benchmark | targets`` and the commands of plugins."""

from torchedge.cli.app import main, run_recipe

__all__ = ["main", "run_recipe"]
