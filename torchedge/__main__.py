"""``python -m torchedge`` is the same as ``torchedge``."""

import sys

from torchedge.cli import main

if __name__ == "__main__":
    sys.exit(main())
