"""A network as a graph: tracing, rewrites, and what every technique asks of a model."""
