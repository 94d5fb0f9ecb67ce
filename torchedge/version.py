"""The version of this package, which cards, manifests and the command line tell."""

__all__ = ["__version__"]

__version__ = "0.1.0"
