"""What the endpoint of a run shows, for the tests of metrics."""

import json
import urllib.request


def port_of(folder):
    targets = json.loads((folder / "prometheus.json").read_text())
    return int(targets[0]["targets"][0].rsplit(":", 1)[1])


def scrape(folder):
    with urllib.request.urlopen(f"http://127.0.0.1:{port_of(folder)}/metrics", timeout=10) as answer:
        return answer.read().decode()


def values(text):
    return {key: float(value) for key, value in
            (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}
