"""Images and manifests, each by its own tool or by the schema that its operator publishes. Nothing here builds an image: what
goes into one is installed and run by test_install.py."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

import kubernetes_validate
import yaml

from deploy_support import FOLDER, REPOSITORY

CONTAINER, KUBERNETES = FOLDER / "container", FOLDER / "kubernetes"
KUBERNETES_VERSION = "1.29"

# The fields of kubeflow.org/v2beta1 MPIJob and of monitoring.coreos.com/v1 PodMonitor that a manifest may use, with the
# types of their published definitions. An operator drops what it does not know without a word: so it is refused here.
REPLICA = {"replicas": int, "restartPolicy": {"Never", "OnFailure", "Always", "ExitCode"}, "template": "pod template"}
MPI_JOB = {
    "slotsPerWorker": int, "launcherCreationPolicy": {"AtStartup", "WaitForWorkersReady"}, "sshAuthMountPath": str,
    "mpiImplementation": {"OpenMPI", "Intel", "MPICH"}, "runLauncherAsWorker": bool,
    "runPolicy": {"cleanPodPolicy": {"None", "Running", "All"}, "ttlSecondsAfterFinished": int, "backoffLimit": int,
                  "activeDeadlineSeconds": int, "suspend": bool, "managedBy": str},
    "mpiReplicaSpecs": {"Launcher": REPLICA, "Worker": REPLICA},
}
POD_MONITOR = {
    "jobLabel": str, "podTargetLabels": [str], "namespaceSelector": {"any": bool, "matchNames": [str]},
    "selector": {"matchLabels": "labels"},
    "podMetricsEndpoints": [{"port": str, "path": str, "interval": str, "scrapeTimeout": str, "honorLabels": bool,
                             "relabelings": [{"sourceLabels": [str], "separator": str, "targetLabel": str, "regex": str,
                                              "replacement": str, "action": str}]}],
}


def manifests(name):
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


class Schema(unittest.TestCase):
    def check(self, value, schema, path):
        if schema == "pod template":
            self.check_pod(value, path)
        elif schema == "labels":
            self.assertTrue(all(isinstance(label, str) for label in value.values()), path)
        elif isinstance(schema, type):
            self.assertIs(type(value), schema, path)
        elif isinstance(schema, set):
            self.assertIn(value, schema, path)
        elif isinstance(schema, list):
            self.assertIsInstance(value, list, path)
            for i, item in enumerate(value):
                self.check(item, schema[0], f"{path}[{i}]")
        else:
            self.assertEqual(set(value) - set(schema), set(), path)
            for key, item in value.items():
                self.check(item, schema[key], f"{path}.{key}")

    def check_pod(self, template, path):
        """By Kubernetes' own schema of pods."""
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template}
        try:
            kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            self.fail(f"{path}: {error}")

    def test_the_job(self):
        (job,) = manifests("mpijob.yaml")
        self.assertEqual((job["apiVersion"], job["kind"]), ("kubeflow.org/v2beta1", "MPIJob"))
        self.check(job["spec"], MPI_JOB, "spec")
        workers = job["spec"]["mpiReplicaSpecs"]["Worker"]
        self.container = job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]
        line = self.container["command"] + self.container["args"]
        # The numbers that are in it twice agree.
        slots = job["spec"]["slotsPerWorker"]
        self.assertEqual(line[line.index("-np") + 1], str(workers["replicas"] * slots))
        self.assertTrue(line[line.index("--map-by") + 1].startswith(f"ppr:{slots}:node:"))
        worker = workers["template"]["spec"]["containers"][0]
        self.assertIn(f"monitoring.port={worker['ports'][0]['containerPort']}", line)

    def test_the_monitor_scrapes_the_jobs_port(self):
        (monitor,) = manifests("podmonitor.yaml")
        self.assertEqual((monitor["apiVersion"], monitor["kind"]), ("monitoring.coreos.com/v1", "PodMonitor"))
        self.check(monitor["spec"], POD_MONITOR, "spec")
        (job,) = manifests("mpijob.yaml")
        ports = job["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["ports"]
        self.assertEqual([port["name"] for port in ports],
                         [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]])
        rules = {rule["targetLabel"]: rule for rule in monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]}
        # Labels that dashboards and alerts group by, and ask for.
        self.assertLessEqual({"run", "instance"}, set(rules))
        (down,) = [rule["expr"] for group in yaml.safe_load((FOLDER / "prometheus/alerts.yml").read_text())["groups"]
                   for rule in group["rules"] if rule["alert"] == "LockstepDown"]
        self.assertIn(f'up{{job="{rules["job"]["replacement"]}"}}', down)
        self.assertNotIn("sourceLabels", rules["job"])

    def test_what_is_wrong_is_seen(self):
        for change in (lambda spec: spec.update(slotPerWorker=8), lambda spec: spec.update(mpiImplementation="LAM"),
                       lambda spec: spec["mpiReplicaSpecs"]["Worker"]["template"]["spec"].update(container=[])):
            (job,) = manifests("mpijob.yaml")
            change(job["spec"])
            with self.assertRaises(AssertionError):
                self.check(job["spec"], MPI_JOB, "spec")


class Images(unittest.TestCase):
    def test_the_dockerfile(self):
        done = subprocess.run([Path(sys.executable).parent / "hadolint", CONTAINER / "Dockerfile"], capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_both_are_built_from_the_same(self):
        docker = (CONTAINER / "Dockerfile").read_text()
        apptainer = (CONTAINER / "lockstep.def").read_text()
        base = {re.search(r"^FROM (\S+)$", docker, re.MULTILINE).group(1),
                *re.findall(r"^From: (\S+)$", apptainer, re.MULTILINE)}
        self.assertEqual(len(base), 1)
        for text in (docker, apptainer):
            self.assertIn("deploy/container/install.sh /opt/lockstep", text)
            self.assertIn("/opt/setup.sh run", text)
            # What they copy is there.
            for source in re.findall(r"(?:^COPY (?:--chown=\S+ )?|^    )(deploy/\S+) /", text, re.MULTILINE):
                self.assertTrue((REPOSITORY / source).exists(), source)

    def test_the_definitions_sections(self):
        text = (CONTAINER / "lockstep.def").read_text()
        known = {"files", "post", "environment", "runscript", "test", "labels", "help", "startscript"}
        sections = re.split(r"^%(\w+)(.*)$", text, flags=re.MULTILINE)
        self.assertEqual(set(sections[1::3]) - known, set())
        for name, body in zip(sections[1::3], sections[3::3]):
            if name != "files":
                script = body.split("\nBootstrap:")[0]
                done = subprocess.run(["shellcheck", "--shell=sh", "-"], input=script, capture_output=True, text=True,
                                      check=False)
                self.assertEqual((done.returncode, done.stdout), (0, ""), name)


if __name__ == "__main__":
    unittest.main()
