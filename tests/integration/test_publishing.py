"""By which ways a run shows its metrics, and that whatever goes wrong there leaves the run alone."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import unittest
import urllib.error
import urllib.request

from scraped import port_of, scrape, values
from support import SameRunTest, finish, hashes, rows, run, start, wait_for_step


class PushGateway:
    """Prometheus' own, on a port of its own."""

    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(["prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{self.port}"],
                                        stderr=subprocess.DEVNULL)
        while True:
            try:
                self.values()
                return self
            except urllib.error.URLError:
                assert self.process.poll() is None
                time.sleep(0.05)

    def values(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return values(answer.read().decode())

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class Publishing(SameRunTest):
    def test_every_way_out(self):
        """Target files, the text file and the Pushgateway, of a run that is stopped and gone on with."""
        outside = self.folder / "outside"
        outside.mkdir()
        folder = self.folder / "pushed run"
        with PushGateway() as gateway:
            address = f"http://127.0.0.1:{gateway.port}/"
            process = start("train", self.recipe, "--run", folder, "--set", "monitoring.port=0",
                            "--set", f"monitoring.targets={outside}", "--set", f"monitoring.text_file={outside}",
                            "--set", "monitoring.address=127.0.0.1", "--set", f"monitoring.push_gateway={address}",
                            "--set", "schedule.epochs=2000", "--set", "evaluation.every=0")
            try:
                wait_for_step(folder, 2, process)
                target_file = outside / "pushed run.json"
                targets = json.loads(target_file.read_text())
                self.assertEqual(targets, json.loads((folder / "prometheus.json").read_text()))
                self.assertTrue(targets[0]["targets"][0].startswith("127.0.0.1:"))
                self.assertEqual(targets[0]["labels"],
                                 {"run": "pushed run", "lockstep_job": "rsb", "instance": os.uname().nodename})
                # Kept alive: whoever clears away what is old leaves it. Its next touch is 15 seconds away.
                os.utime(target_file, (0, 0))
                first = target_file.stat()
                while target_file.stat().st_mtime == first.st_mtime:
                    self.assertIsNone(process.poll())
                    time.sleep(0.1)
                self.assertNotEqual(target_file.stat().st_ino, first.st_ino)  # by rename
                self.assertEqual(json.loads(target_file.read_text()), targets)
            finally:
                process.send_signal(signal.SIGUSR2)
                done = finish(process)
            self.assertEqual(done.code, 75, done.err)
            # A run that ended as it should is no target any more; the text file stays with its last word.
            self.assertEqual([file.name for file in outside.iterdir()], ["lockstep-pushed run.prom"])
            self.assertFalse((folder / "prometheus.json").exists())
            text = (outside / "lockstep-pushed run.prom").read_text()
            told = values(text)
            self.assertEqual(told['lockstep_run_state{state="stopped",run="pushed run"}'], 1)
            self.assertEqual(told['lockstep_preemption_pending{run="pushed run"}'], 1)
            self.assertEqual(told['lockstep_step{run="pushed run"}'], rows(folder)[-1]["step"])
            checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True,
                                     check=False)
            self.assertEqual((checked.returncode, checked.stderr), (0, ""))
            shown = gateway.values()
            of_run = '{instance="",job="lockstep",run="pushed run"'
            self.assertEqual(shown[f"lockstep_step{of_run}}}"], rows(folder)[-1]["step"])
            self.assertEqual(shown[f'lockstep_run_state{of_run},state="stopped"}}'], 1)
            # The run goes on: the gateway forgets what it said, which is no longer true.
            process = start("resume", folder)
            try:
                wait_for_step(folder, rows(folder)[-1]["step"] + 1, process)
                while any("pushed run" in key for key in gateway.values()):
                    self.assertIsNone(process.poll())
                restarts = {cause: value for cause, value in re.findall(r'restarts_total{cause="(\w+)"} (\d)', scrape(folder))}
                self.assertEqual(restarts, {"stopped": "1", "hang": "0", "lost": "0", "failed": "0"})
            finally:
                process.send_signal(signal.SIGUSR2)
                self.assertEqual(finish(process).code, 75)

    def test_nothing_of_it_stops_a_run(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]  # where nobody is when it is closed
        absent = self.folder / "absent"
        done = run("train", self.recipe, "--run", self.folder / "unwritable", "--set", "monitoring.port=0",
                   "--set", f"monitoring.targets={absent}", "--set", f"monitoring.text_file={absent}",
                   "--set", f"monitoring.push_gateway=http://127.0.0.1:{port}/",
                   "--set", "schedule.epochs=1", "--set", "schedule.warmup_epochs=0", "--set", "evaluation.every=0")
        self.ok(done)
        self.assertEqual(done.err.count("warning: cannot write"), 2, done.err)
        self.assertIn("warning: cannot push to the Pushgateway", done.err)
        done = run("validate", self.recipe, "--set", "monitoring.linger=soon")
        self.assert_error(done, 2, "E105", "soon", "30s")

    def test_requests_that_are_none(self):
        """Garbage, half requests and connections that say nothing leave the run and its numbers alone."""
        folder = self.folder / "garbage"
        process = start("train", self.recipe, "--run", folder, "--set", "monitoring.port=0", ranks=2)
        random.seed(1)
        silent = []
        try:
            while not (folder / "prometheus.json").exists():
                self.assertIsNone(process.poll())
            port = port_of(folder)
            while process.poll() is None and not rows(folder)[7:]:
                try:
                    for words in (b"GET / HTTP/1.1\r\n\r\n", b"DELETE /metrics HTTP/1.1\r\n\r\n", b"GET " + b"/" * 99999,
                                  random.randbytes(5000), b"GET /metrics HTTP/9.9\r\nContent-Length: -7\r\n\r\n"):
                        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                            connection.sendall(words)
                    if len(silent) < 30:
                        silent.append(socket.create_connection(("127.0.0.1", port), timeout=5))
                except OSError:
                    pass  # refused, or the run is over
        finally:
            done = finish(process)
            for connection in silent:
                connection.close()
        self.assertEqual(done.code, 0, done.err)
        self.assertGreater(len(silent), 3)
        self.assertEqual(hashes(folder), {row["step"]: row["weights_hash"] for row in self.expected})


if __name__ == "__main__":
    unittest.main()
