"""The runtimes' own arithmetic: a saved program answers as its device would, integer by integer."""
