"""Scripts that run on the board's own Python, from 3.6 on; copied into bundles, never imported."""
