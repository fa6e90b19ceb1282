"""How long `import turnout` takes, as the median of whole processes less an empty one. Bar: 50 ms."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def seconds(code: str, runs: int = 15) -> float:
    """The median wall time of `python -c code`."""
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Print the figures."""
    empty = seconds("pass")
    own = seconds("import turnout") - empty
    print(f"import turnout: {own * 1e3:.1f} ms over an empty interpreter ({empty * 1e3:.1f} ms); bar 50 ms")


if __name__ == "__main__":
    main()
