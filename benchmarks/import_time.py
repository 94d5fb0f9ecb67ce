"""Does looking stay cheap? Times fresh interpreters with and without an import, in turn.

Run with ``python benchmarks/import_time.py``; it prints the medians and ends with 1 when importing
torchedge costs 50 ms or more.
"""

import statistics
import subprocess
import sys
import time

LIMIT_MS = 50.0
ROUNDS = 15


def milliseconds(code: str) -> float:
    """Wall time of one fresh interpreter."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return 1e3 * (time.perf_counter() - begin)


def main() -> int:
    """Print the medians of both and of their paired difference."""
    pairs = [(milliseconds("pass"), milliseconds("import torchedge")) for _ in range(ROUNDS)]
    bare, loaded = (statistics.median(column) for column in zip(*pairs, strict=True))
    cost = statistics.median(after - before for before, after in pairs)
    print(f"python {bare:.1f} ms, with torchedge {loaded:.1f} ms: the import costs {cost:.1f} ms")
    return int(cost >= LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
