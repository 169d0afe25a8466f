"""Puts results of one machine and version into one file: `python -m benchmarks.merge OUT IN...`"""

import argparse
import sys
from pathlib import Path

from benchmarks import results


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merge", description=__doc__)
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("pieces", nargs="+", type=Path, help="results to put together")
    given = parser.parse_args(arguments)
    try:
        loaded = {str(path): results.load(path) for path in given.pieces}
        foreign = [name for name, result in loaded.items() if result is None]
        if foreign:
            raise results.ResultError(f"{', '.join(foreign)}: no result of `pytest benchmarks`")
        results.write(given.out, results.merge(loaded))
    except results.ResultError as error:
        sys.exit(f"benchmarks.merge: {error}")


if __name__ == "__main__":
    main()
