"""What the tests of deploy/ share."""

import json
import os
import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "deploy"
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()
LOCKSTEP = os.environ.get("LOCKSTEP") or str(REPOSITORY / "build" / "lockstep")


def catalogue():
    """{name: what it is}, a histogram under the names of its series too."""
    found = {}
    out = subprocess.run([LOCKSTEP, "metrics", "--json"], capture_output=True, text=True, check=True).stdout
    for metric in map(json.loads, out.splitlines()):
        names = [metric["name"]]
        if metric["type"] == "histogram":
            names += [metric["name"] + suffix for suffix in ("_bucket", "_sum", "_count")]
        found.update((name, metric) for name in names)
    return found


def metrics_in(expression):
    """Names of metrics: words that are followed by no parenthesis, outside of braces, ranges and groupings."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(by|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", expression)
    return {word for word in re.findall(r"\b(?:lockstep[a-z0-9_:]*|DCGM[A-Z0-9_]*|up)\b(?!\s*\()", bare)}
