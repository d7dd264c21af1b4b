"""The dashboards: as generated, by Grafana's own schema, about metrics that exist, and answered by a real Prometheus that
scrapes a real run of two ranks by its target file."""

import json
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

from panel_pictures import draw  # noqa: E402

NAMES = ("lockstep.json", "lockstep_compare.json")
register_default_plugins()


def dashboard(name):
    return json.loads((FOLDER / "grafana" / name).read_text())


def panels(name):
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def expressions():
    return sorted({target["expr"] for name in NAMES for panel in panels(name) for target in panel["targets"]})


def operands(alert):
    """The parts of an alert's expression that are compared or combined, each a query of its own."""
    for part in re.split(r"\b(?:and|or|unless)\b|[<>]=?|[!=]=", re.sub(r"\boffset \w+", "", alert)):
        while part.count("(") < part.count(")"):
            part = part[:part.rindex(")")]
        while part.count("(") > part.count(")"):
            part = part.strip().removeprefix("(") if part.strip().startswith("(") else part + ")"
        if metrics_in(part):
            yield part.strip()


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

    def test_operands(self):
        self.assertEqual(list(operands('(a:b > 3 * max by (run) (lockstep_x > 0) or up{job="c"} == 0) and lockstep_y offset 5m < 1')),
                         ["3 * max by (run) (lockstep_x )", 'up{job="c"}', "lockstep_y"])

    def test_gpus_are_joined_by_their_uuid(self):
        """What needs a GPU, with DCGM's metrics made up: each panel has a series under the names of run and rank."""
        asked = [expression for expression in expressions() if "DCGM" in expression]
        self.assertGreater(len(asked), 5)
        series = {f'{name}{{gpu="0",UUID="GPU-1",Hostname="n1"}}': "0+1e6x20"
                  for expression in asked for name in metrics_in(expression) if name.startswith("DCGM")}
        series['lockstep_rank_gpu_info{run="a",rank="3",UUID="GPU-1"}'] = "1x20"
        queries = [{"expr": expression.replace("$__rate_interval", "5m").replace("$run", ".*"), "eval_time": "10m",
                    "exp_samples": []} for expression in asked]
        test = {"evaluation_interval": "1m", "tests": [{"interval": "1m", "promql_expr_test": queries, "input_series": [
            {"series": name, "values": values} for name, values in series.items()]}]}
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            file.write(json.dumps(test))
            file.flush()
            done = subprocess.run(["promtool", "test", "rules", file.name], capture_output=True, text=True, check=False)
        # It was told to expect nothing, and complains of each.
        found = re.findall(r"got: \{(.*)\}", done.stdout + done.stderr)
        self.assertEqual(len(found), len(asked), done.stdout + done.stderr)
        for labels in found:
            self.assertIn('rank="3"', labels)
            self.assertIn('run="a"', labels)

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

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


class RealServer(RunTest):
    recipe_text = (REPOSITORY / "jobs/dino/recipes/vit_tiny_cpu.toml").read_text()

    def answers(self):
        """{query: its series} of all that dashboards, rules and alerts ask for."""
        groups = [group for name in ("rules.yml", "alerts.yml")
                  for group in yaml.safe_load((FOLDER / "prometheus" / name).read_text())["groups"]]
        rules = [rule for group in groups for rule in group["rules"]]
        asked = [*expressions(), *(annotation["expr"] for name in NAMES for annotation in dashboard(name)["annotations"]["list"]),
                 *(rule["expr"] for rule in rules if "record" in rule),
                 *(operand for rule in rules if "alert" in rule for operand in operands(rule["expr"]))]
        return {expression: self.server.answer(expression) for expression in sorted(set(asked))}

    def assert_drawable(self, answers, silent):
        """Each series of a panel has a name of its own, and the panel as a picture has something to see."""
        pictures = Path(LOCKSTEP).parent / "panels"
        for name in NAMES:
            folder = pictures / Path(name).stem
            folder.mkdir(parents=True, exist_ok=True)
            for panel in panels(name):
                shown = [(target["legendFormat"], answers[target["expr"]]) for target in panel["targets"]
                         if target["expr"] not in silent]
                with self.subTest(panel=panel["title"]):
                    for legend, answer in shown:
                        labels = re.findall(r"\{\{(\w+)\}\}", legend)
                        legends = [tuple(series["metric"].get(label) for label in labels) for series in answer]
                        self.assertNotIn(None, [label for names in legends for label in names])
                        if labels:
                            self.assertEqual(len(set(legends)), len(legends))
                    if shown:
                        file = folder / f"{panel['id']:02}-{re.sub('[^a-z]+', '-', panel['title'].lower())}.png"
                        self.assertGreater(draw(panel, shown, file), 0)
                        self.assertGreater(file.stat().st_size, 1000)

    def assert_variables_have_values(self):
        for name in NAMES:
            for variable in dashboard(name)["templating"]["list"]:
                if variable["type"] == "query":
                    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
                    self.assertEqual(self.server.ask(f"label/{label}/values", **{"match[]": metric}), ["run"])

    def test_every_expression_is_answered(self):
        targets = self.folder / "targets"
        targets.mkdir()
        self.server = Server(self.folder, targets)
        self.addCleanup(self.server.stop)
        folder = self.folder / "run"
        process = start("train", self.recipe, "--run", folder, "--set", f"data.train={self.data}/train",
                        "--set", f"data.val={self.data}/val", "--set", "batch.size=16", "--set", "schedule.epochs=16",
                        "--set", "teacher.warmup_epochs=1", "--set", "schedule.warmup_epochs=1",
                        "--set", "head.freeze_epochs=1", "--set", "checkpoint.every=5s", "--set", "log.every=1",
                        "--set", f"monitoring.targets={targets}", "--set", "monitoring.linger=300s",
                        "--set", "monitoring.port=0", "--set", "monitoring.address=127.0.0.1", ranks=2)
        try:
            wait_for_step(folder, 1, process)
            wait_for_step(folder, json.loads((folder / "run.json").read_text())["steps"], process)
            # Now it lingers; the last scrapes and rules take some seconds more.
            known = catalogue()
            absent = {name for name, metric in known.items() if metric["availability"] == "gpu"}
            deadline = time.monotonic() + 60
            while True:
                answers = self.answers()
                silent = {expression for expression, answer in answers.items() if not answer}
                expected = {expression for expression in answers
                            if any(name in absent or name.startswith("DCGM") for name in metrics_in(expression))}
                if silent == expected or time.monotonic() > deadline:
                    break
                time.sleep(1)
            self.assertEqual(silent, expected)
            self.assert_drawable(answers, expected)
            self.assert_variables_have_values()
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
