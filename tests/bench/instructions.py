#!/usr/bin/env python3
"""Counts the instructions of what must stay fast, under callgrind, and holds them against instructions.json.

    tests/bench/instructions.py [--record]

Counts, not seconds: the same on a busy machine, and on any processor with AVX2 (callgrind knows no AVX-512, so that its
clones are not taken). They are those of one compiler and its libraries; after a change of these, or one that is worth its
instructions, --record writes them anew. More than 5 % above the record is an error.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
COUNTED = os.environ.get("LOCKSTEP_COUNTED") or str(REPOSITORY / "build" / "tests" / "counted")
RECORD = Path(__file__).with_name("instructions.json")
MARGIN = 1.05
OPERATIONS = ("picture", "update", "sum")


def count(operation):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        subprocess.run(["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=counted",
                        f"--callgrind-out-file={out}", COUNTED, operation], check=True, capture_output=True)
        return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write what is counted to instructions.json")
    options = parser.parse_args()
    counts = {operation: count(operation) for operation in OPERATIONS}
    if options.record:
        RECORD.write_text(json.dumps(counts, indent=1) + "\n")
    recorded = json.loads(RECORD.read_text())
    grown = False
    for operation, instructions in counts.items():
        ratio = instructions / recorded[operation]
        grown |= ratio > MARGIN
        print(f"{operation}: {instructions} instructions, {ratio:.3f} times the record")
    if grown:
        sys.exit(f"more instructions than {RECORD.name} allows; a change that is worth them: {Path(__file__).name} --record")


if __name__ == "__main__":
    main()
