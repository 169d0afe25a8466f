"""Measures studies again: `python -m benchmarks.studies NAME...`, into benchmarks/results

Scenes are those of the folder KSDIFF_DATA (default ../shared/data). The study `adaptation` needs
weights first: `ksdiff train benchmarks/studies/left-out.yaml`.
"""

import argparse

from benchmarks.results import RESULTS, write
from benchmarks.studies import adaptation, contrast, held_out, registration, strength
from ksdiff.runtime import machine_header

STUDIES = {
    "adaptation": adaptation,
    "contrast": contrast,
    "held-out": held_out,
    "registration": registration,
    "strength": strength,
}


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
