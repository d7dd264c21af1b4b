"""The dashboards: as generated, by Grafana's own schema, about metrics that exist, and answered by a real Prometheus that
scrapes a real run of two ranks by its target file."""

import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request
from pathlib import Path

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy_support import FOLDER, LOCKSTEP, REPOSITORY, catalogue, metrics_in

sys.path.insert(0, str(REPOSITORY / "tests" / "integration"))
from support import RunTest, finish, start, wait_for_step  # noqa: E402

NAMES = ("lockstep.json", "lockstep_compare.json")
register_default_plugins()


def dashboard(name):
    return json.loads((FOLDER / "grafana" / name).read_text())


def panels(name):
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def expressions():
    return sorted({target["expr"] for name in NAMES for panel in panels(name) for target in panel["targets"]})


class Dashboards(unittest.TestCase):
    maxDiff = None

    def test_generated(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, FOLDER / "grafana" / "generate.py", LOCKSTEP, "--out", folder], check=True)
            for name in NAMES:
                self.assertEqual((Path(folder) / name).read_text(), (FOLDER / "grafana" / name).read_text(),
                                 "run deploy/grafana/generate.py")

    def kept(self, ours, theirs, path):
        """Everything of ours is there after a journey through Grafana's types; what they do not know they drop."""
        if isinstance(ours, dict):
            for key, value in ours.items():
                if path.endswith("annotations.list[0]") and key in ("useValueForTime", "titleFormat"):
                    continue  # of the data source, beyond the schema of dashboards
                if value is None:
                    continue
                self.assertIn(key, theirs, path)
                self.kept(value, theirs[key], f"{path}.{key}")
        elif isinstance(ours, list):
            self.assertEqual(len(ours), len(theirs), path)
            for i, (one, other) in enumerate(zip(ours, theirs)):
                self.kept(one, other, f"{path}[{i}]")
        else:
            self.assertEqual(ours, theirs, path)

    def test_grafanas_own_types_read_them(self):
        for name in NAMES:
            ours = dashboard(name)
            theirs = json.loads(json.dumps(Dashboard.from_json(ours), cls=JSONEncoder))
            self.kept(ours, theirs, name)

    def test_every_panel_says_what_it_is(self):
        for name in NAMES:
            seen = set()
            for panel in panels(name):
                self.assertTrue(panel["description"] and panel["links"], panel["title"])
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], panel["title"])
                place = panel["gridPos"]
                cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                         for y in range(place["y"], place["y"] + place["h"])}
                self.assertLessEqual(place["x"] + place["w"], 24)
                self.assertFalse(cells & seen, panel["title"])
                seen |= cells

    def test_every_metric_exists(self):
        known = set(catalogue())
        shown = set()
        for expression in expressions():
            used = {name for name in metrics_in(expression) if name.startswith("lockstep")}
            self.assertFalse(used - known, expression)
            shown |= used
        # The other way round: a metric that nobody sees needs no exporting.
        unseen = {name for name in known - shown if not name.startswith("lockstep_step_seconds")}
        self.assertEqual(unseen, {"lockstep_info", "lockstep_nodes", "lockstep_run_start_timestamp_seconds",
                                  "lockstep_evaluation_timestamp_seconds", "lockstep_checkpoint_interval_steps"})

    def test_provisioning(self):
        source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/lockstep.yml").read_text())
        self.assertEqual(source["datasources"][0]["type"], "prometheus")
        scraped = yaml.safe_load((FOLDER / "prometheus/prometheus.yml").read_text())
        self.assertEqual(source["datasources"][0]["jsonData"]["timeInterval"], scraped["global"]["scrape_interval"])
        provider = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/lockstep.yml").read_text())
        self.assertEqual(provider["providers"][0]["type"], "file")


class Server:
    """A Prometheus of its own in `folder`, with our rules, that reads target files of `targets`."""

    def __init__(self, folder, targets):
        config = yaml.safe_load((FOLDER / "prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(FOLDER / "prometheus/rules.yml"), str(FOLDER / "prometheus/alerts.yml")]
        config["scrape_configs"][0]["file_sd_configs"] = [{"files": [f"{targets}/*.json"], "refresh_interval": "1s"}]
        (folder / "prometheus.yml").write_text(json.dumps(config))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.log = (folder / "prometheus.log").open("w")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address={self.address}"], stdout=self.log, stderr=self.log)

    def ask(self, path, **parameters):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.loads(answer.read())["data"]

    def answer(self, expression):
        """Its series over the last minutes, as a panel would draw them."""
        now = time.time()
        asked = expression.replace("$__rate_interval", "10s").replace("$run", ".*")
        return self.ask("query_range", query=asked, start=now - 300, end=now, step=1)["result"]

    def has_data(self, expression):
        return bool(self.answer(expression))

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


class RealServer(RunTest):
    recipe_text = (REPOSITORY / "jobs/dino/recipes/vit_tiny_cpu.toml").read_text()

    def answers(self):
        groups = yaml.safe_load((FOLDER / "prometheus/rules.yml").read_text())["groups"]
        rules = [rule["expr"] for group in groups for rule in group["rules"]]
        return {expression: self.server.has_data(expression) for expression in expressions() + rules}

    def assert_drawable(self, silent):
        """What Grafana would need to draw each panel: curves that have the labels of their legend, each under a name of
        its own, and points that are numbers. Grafana itself is in no archive of Debian or PyPI."""
        for name in NAMES:
            for panel in panels(name):
                for target in panel["targets"]:
                    if target["expr"] in silent:
                        continue
                    answer = self.server.answer(target["expr"])
                    wanted = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
                    legends = [tuple(series["metric"].get(label) for label in wanted) for series in answer]
                    with self.subTest(panel=panel["title"]):
                        self.assertNotIn(None, [label for legend in legends for label in legend])
                        if wanted:
                            self.assertEqual(len(set(legends)), len(legends))
                        self.assertTrue(any(math.isfinite(float(value)) for series in answer
                                            for _, value in series["values"]))

    def test_every_expression_is_answered(self):
        targets = self.folder / "targets"
        targets.mkdir()
        self.server = Server(self.folder, targets)
        self.addCleanup(self.server.stop)
        folder = self.folder / "run"
        process = start("train", self.recipe, "--run", folder, "--set", f"data.train={self.data}/train",
                        "--set", f"data.val={self.data}/val", "--set", "batch.size=16", "--set", "schedule.epochs=4",
                        "--set", "teacher.warmup_epochs=1", "--set", "schedule.warmup_epochs=1",
                        "--set", "head.freeze_epochs=1", "--set", "checkpoint.every=5s", "--set", "log.every=1",
                        "--set", f"monitoring.targets={targets}", "--set", "monitoring.linger=300s",
                        "--set", "monitoring.port=0", "--set", "monitoring.address=127.0.0.1", ranks=2)
        try:
            wait_for_step(folder, 1, process)
            wait_for_step(folder, json.loads((folder / "run.json").read_text())["steps"], process)
            # Now it lingers; the last scrapes and rules take some seconds more.
            known = catalogue()
            absent = {name for name, metric in known.items() if metric["availability"] == "later"}
            deadline = time.monotonic() + 60
            while True:
                answers = self.answers()
                silent = {expression for expression, answered in answers.items() if not answered}
                expected = {expression for expression in answers
                            if any(name in absent or name.startswith("DCGM") for name in metrics_in(expression))}
                if silent == expected or time.monotonic() > deadline:
                    break
                time.sleep(1)
            self.assertEqual(silent, expected)
            self.assert_drawable(expected)
            groups = self.server.ask("rules")["groups"]
            self.assertEqual({rule["health"] for group in groups for rule in group["rules"]}, {"ok"})
            critical = [alert["labels"] for alert in self.server.ask("alerts")["alerts"]
                        if alert["labels"]["severity"] == "critical"]
            self.assertEqual(critical, [])
            labels = self.server.ask("query", query="lockstep_step")["result"][0]["metric"]
            self.assertEqual((labels["run"], labels["instance"]), ("run", os.uname().nodename))
        finally:
            process.send_signal(signal.SIGUSR2)
            done = finish(process)
        self.assertEqual(done.code, 0, done.err)


if __name__ == "__main__":
    unittest.main()
