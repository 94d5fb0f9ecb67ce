"""Run ``torchedge benchmark`` from the repository."""

import sys

if __name__ == "__main__":
    try:
        from torchedge.cli import main

        sys.argv.insert(1, "benchmark")
        sys.exit(main())
    except ModuleNotFoundError as error:
        sys.exit(
            f"error: {error.name} is not installed; run scripts/demo once, then .venv/bin/python."
        )
