#!/usr/bin/env python3
"""What being scraped costs a run: the step's time with and without 50 scrapes and 10 garbage requests a second, in turns
within one run, and the processor's time of a request.

usage: scrapes.py [--seconds N] [--rounds N] [--lockstep PROGRAM] [-- OPTIONS OF TRAIN...]

One rank with one thread, so that whoever asks has a core of its own on a machine of two."""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRAPES, GARBAGE = 50, 10  # a second


def rows(run):
    text = (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def processor_seconds(process):
    """Of the endpoint's threads, as the scheduler counts it: ticks are too coarse."""
    tasks = [task for task in Path(f"/proc/{process}/task").iterdir() if (task / "comm").read_text().startswith("metrics")]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def ask(port, seconds):
    """Asks for so long, over one connection as Prometheus does, and with garbage over others; returns how many scrapes were
    answered."""
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    answered, end = 0, time.monotonic() + seconds
    for turn in range(int(seconds * SCRAPES)):
        due = end - seconds + turn / SCRAPES
        time.sleep(max(0.0, due - time.monotonic()))
        kept.request("GET", "/metrics")
        answer = kept.getresponse()
        answered += answer.status == 200 and len(answer.read()) > 1000
        if turn % (SCRAPES // GARBAGE) == 0:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(os.urandom(200) + b"\r\n\r\n")
    return answered


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lockstep", default=str(ROOT / "build" / "lockstep"))
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder) / "data", Path(folder) / "run"
        subprocess.run([arguments.lockstep, "data", "make", data, "--train", "100", "--validation", "2"], check=True)
        process = subprocess.Popen(
            [arguments.lockstep, "train", ROOT / "jobs/rsb/recipes/tiny_cpu.toml", "--run", run, "--set", f"data.train={data}/train",
             "--set", f"data.val={data}/val", "--set", "log.every=1", "--set", "schedule.epochs=100000", "--set",
             "evaluation.every=0", "--set", "monitoring.port=0", "--set", "compute.threads=1", "--set", "data.threads=1",
             "--set", "checkpoint.every=1000000", *arguments.options],
            stderr=subprocess.DEVNULL)
        try:
            while len(rows(run)) < 20:
                time.sleep(0.2)
            port = int(json.loads((run / "prometheus.json").read_text())[0]["targets"][0].rsplit(":", 1)[1])
            quiet, asked, scrapes, used = [], [], 0, 0.0
            for _ in range(arguments.rounds):
                first = len(rows(run))
                time.sleep(arguments.seconds)
                middle, before = len(rows(run)), processor_seconds(process.pid)
                scrapes += ask(port, arguments.seconds)
                last = len(rows(run))
                used += processor_seconds(process.pid) - before
                steps = [row["step_seconds"] for row in rows(run)]
                quiet.append(statistics.mean(steps[first + 1:middle]))
                asked.append(statistics.mean(steps[middle + 1:last]))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    ratios = [one / other for one, other in zip(asked, quiet)]
    print(json.dumps({"step_seconds": statistics.median(quiet), "step_seconds_asked": statistics.median(asked),
                      "ratio_median": statistics.median(ratios), "ratios": [round(ratio, 4) for ratio in ratios],
                      "scrapes": scrapes, "processor_ms_a_scrape": 1e3 * used / scrapes}))


if __name__ == "__main__":
    main()
