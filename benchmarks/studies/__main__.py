"""Measures studies again: `python -m benchmarks.studies NAME...`, into benchmarks/results

Scenes are those of the folder KSDIFF_DATA (default ../shared/data). Some studies need weights
first: `adaptation` those of `ksdiff train benchmarks/studies/left-out.yaml`, `tenth` those of
`ksdiff train ksdiff/configs/ksdiff-s-tenth.yaml`.
"""

import argparse

from benchmarks.results import RESULTS, write
from benchmarks.studies import STUDIES
from ksdiff.runtime import machine_header


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="NAME", choices=STUDIES)
    for name in parser.parse_args().names:
        for file, rows in STUDIES[name].measure().items():
            write(RESULTS / f"{file}.json", machine_header(), rows)


if __name__ == "__main__":
    main()
