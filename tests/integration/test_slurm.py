"""Jobs of a real Slurm over two hosts: by mpirun and by srun, requeued, cancelled, out of time, pre-empted, on a node that fails,
in an array, in a chain: each ends as documented, and the run comes out with the bits of one that was never disturbed."""

import json
import os
import re
import signal
import subprocess
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor

from cluster import Hosts, Slurm
from support import LOCKSTEP, REPOSITORY, SameRunTest, finish, hashes, rows, start, wait_for_step

FOLDER = REPOSITORY / "deploy" / "slurm"
TEMPLATES = {"mpirun": FOLDER / "mpirun.sbatch", "srun": FOLDER / "srun.sbatch"}
BINDING = {"mpirun": "--bind-to none --oversubscribe", "srun": "--cpu-bind=none"}


class Jobs(SameRunTest):
    same = ("weights_hash", "loss")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.slurm = Slurm()
        cls.addClassCleanup(cls.slurm.close)

    def submit(self, launcher, name, *words, options=(), run=None, binding=BINDING, ranks=2, program=LOCKSTEP):
        """The template as a user submits it, for one rank on each node; the reference's bits are those of any world."""
        return self.slurm.submit(
            "--ntasks-per-node=1", "--cpus-per-task=1", "--time=5", f"--output={self.folder}/{name}-%j.log", *options,
            TEMPLATES[launcher], *words, RECIPE=self.recipe, RUN=run or self.folder / name, LOCKSTEP=program,
            RANKS=ranks, BINDING=binding[launcher] if binding else "", OMPI_ALLOW_RUN_AS_ROOT=1, OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)

    def log(self, name):
        return "".join(file.read_text() for file in self.folder.glob(f"{name}-*.log"))

    def wait_for_step(self, name, step, job):
        def reached():
            self.assertNotIn(self.slurm.state(job), ("FAILED", "CANCELLED", "COMPLETED", "TIMEOUT"), self.log(name))
            return any(row["step"] >= step for row in rows(self.folder / name))
        self.slurm.wait(f"step {step} of {name}", reached, 180)

    def assert_ends(self, name, job, state, code):
        def ended():
            return self.slurm.state(job) not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "")
        self.slurm.wait(f"end of {name}", ended, 180)
        done = self.slurm.job(job)
        self.assertEqual((done["JobState"], done["ExitCode"]), (state, code), self.log(name) + self.slurm.logs())
        return done

    def seat_of(self, name, rank):
        """Host and process of its newest launch; all hosts are one machine."""
        text = (self.folder / name / "log" / f"rank-{rank:05}.log").read_text()
        host, process = re.findall(r" on (\w+), process (\d+):", text)[-1]
        return host, int(process)

    def hosts_of(self, name):
        logs = (self.folder / name / "log").glob("rank-*.log")
        return sorted(line.split(" on ")[1].split(",")[0] for file in logs
                      for line in file.read_text().splitlines()[:1])

    def scraped(self, target):
        """The page of one target of a run, as a Prometheus on the first node gets it."""
        script = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
        return self.slurm.client(sys.executable, "-c", script, f"http://{target['targets'][0]}/metrics", check=True).stdout

    def test_jobs_that_leave_each_other_alone(self):
        """Four at a time: most of what they take is waiting."""
        each = (self.trained_and_scraped, self.bound_as_shipped, self.killed_rank, self.requeued_in_mid_step)
        cases = {"time limit": (self.time_limit,), "array": (self.array,), "chain": (self.chain,), "spare node": (self.spare_node,),
                 "cancelled": (self.cancelled,), "memory": (self.gone_on_from_memory,),
                 "by hand": (self.by_hand,), "crashed": (self.crashed_in_start,), "refused": (self.refused,),
                 **{f"{case.__name__}, {launcher}": (case, launcher) for case in each for launcher in ("mpirun", "srun")}}
        with ThreadPoolExecutor(4) as pool:
            running = {name: pool.submit(*case) for name, case in cases.items()}
            for name, case in running.items():
                with self.subTest(name):
                    case.result()

    def trained_and_scraped(self, launcher):
        """Each node shows its own rank, the first the run as well."""
        addresses = {name: self.slurm.hosts.address(name) for name in Hosts.NAMES}
        job = self.submit(launcher, launcher, "--set", "monitoring.port=0", "--set", "monitoring.linger=100s")
        self.wait_for_step(launcher, self.STEPS, job)
        targets = {target["labels"]["instance"]: target
                   for target in json.loads((self.folder / launcher / "prometheus.json").read_text())}
        self.assertEqual(set(targets), set(addresses))
        for rank, (name, target) in enumerate(sorted(targets.items())):
            # Nothing here knows names of hosts, a cluster does.
            target["targets"] = [target["targets"][0].replace(f"{name}:", f"{addresses[name]}:")]
            self.slurm.wait(f"the last step on {name}", lambda t=target, r=rank: f'lockstep_rank_step{{rank="{r}"}} '
                            f"{self.STEPS}\n" in self.scraped(t))
            shown = self.scraped(target)
            self.assertEqual(set(re.findall(r'^lockstep_rank_step\{rank="(\d)"\}', shown, re.MULTILINE)), {str(rank)})
            self.assertEqual("\nlockstep_step " in shown, name == "node1")
        self.slurm.client("scancel", "--batch", "--signal=USR2", job, check=True)  # enough of lingering
        self.assert_ends(launcher, job, "COMPLETED", "0:0")
        self.assertEqual(self.hosts_of(launcher), ["node1", "node2"])
        self.assert_same_run(self.folder / launcher)

    def bound_as_shipped(self, launcher):
        name = f"bound-{launcher}"
        job = self.submit(launcher, name, "--set", "schedule.epochs=1", "--set", "schedule.warmup_epochs=0", binding=None)
        self.assert_ends(name, job, "COMPLETED", "0:0")
        self.assertEqual(self.hosts_of(name), ["node1", "node2"])
        if launcher == "mpirun":
            # One core a rank, by mpirun's own word (this Slurm has no plugin that binds).
            self.assertEqual(len(re.findall(r"MCW rank \d bound to socket \d\[core \d+\[hwt", self.log(name))), 2)

    def killed_rank(self, launcher):
        """Costs no place in the queue."""
        name = f"killed-{launcher}"
        job = self.submit(launcher, name)
        self.wait_for_step(name, 8, job)
        os.kill(self.seat_of(name, 1)[1], signal.SIGKILL)
        done = self.assert_ends(name, job, "COMPLETED", "0:0")
        self.assertEqual(done["Restarts"], "0")
        self.assertIn("starting again", self.log(name))
        self.assert_same_run(self.folder / name)

    def crashed_in_start(self):
        """Before the others could have noticed: srun ends them."""
        program = self.folder / "crash"
        program.write_text(f'#!/bin/sh\n[ "$SLURM_STEP_ID" = 0 ] || exec {LOCKSTEP} "$@"\n'
                           '[ "$SLURM_PROCID" = 1 ] || kill -SEGV $$\nexec sleep 1000\n')
        program.chmod(0o755)
        job = self.submit("srun", "crashed", program=program)
        self.assert_ends("crashed", job, "COMPLETED", "0:0")
        self.assertRegex(self.log("crashed"), "ended with code 1(39|43); starting again")
        self.assert_same_run(self.folder / "crashed")

    def refused(self):
        """With the error's own code, though srun ends the other rank; which may come before that one has understood a word,
        and then it starts again."""
        job = self.submit("srun", "refused", "--set", "nonsense=1")
        self.assert_ends("refused", job, "FAILED", "2:0")
        self.assertIn("error[E103]", self.log("refused"))

    def spare_node(self):
        """A node that is suspected is left out where one is to spare."""
        job = self.submit("srun", "spare", ranks=1)  # mpirun: test_restarts.py
        self.wait_for_step("spare", 8, job)
        os.kill(self.seat_of("spare", 0)[1], signal.SIGKILL)
        self.assert_ends("spare", job, "COMPLETED", "0:0")
        self.assertIn("without node1 from here on", self.log("spare"))
        self.assertEqual(self.seat_of("spare", 0)[0], "node2")
        self.assert_same_run(self.folder / "spare")

    def requeued_in_mid_step(self, launcher):
        name = f"requeued-{launcher}"
        job = self.submit(launcher, name)
        self.wait_for_step(name, 8, job)
        self.slurm.client("scontrol", "requeue", job, check=True)
        self.slurm.start_again(job)
        done = self.assert_ends(name, job, "COMPLETED", "0:0")
        self.assertEqual(done["Restarts"], "1")
        self.assert_same_run(self.folder / name)
        self.assertEqual(json.loads((self.folder / name / "run.json").read_text())["launches"], 2)

    def time_limit(self):
        # Slurm sends the signal up to a minute early, here within half a minute: in a step, or while the run starts.
        long = ("--set", "schedule.epochs=2000", "--set", "evaluation.every=0")
        jobs = {f"limit-{launcher}": self.submit(launcher, f"limit-{launcher}", *long, options=("--time=2", "--signal=B:USR2@118"))
                for launcher in ("mpirun", "srun")}
        reached = {}
        for name, job in jobs.items():
            self.slurm.wait(f"requeue of {name}", lambda j=job: self.slurm.job(j).get("Restarts") == "1", 180)
            self.assertIn("saved; back into the queue", self.log(name))
            reached[name] = max((row["step"] for row in rows(self.folder / name)), default=0)
            # The time that is left to so short a job may end it before it is there again.
            self.slurm.client("scontrol", "update", f"job={job}", "TimeLimit=5", check=True)
        for name, job in jobs.items():
            self.slurm.start_again(job)
            self.wait_for_step(name, reached[name] + 3, job)
            self.cancel(job)
        last = max(reached.values()) + 3
        alone = start("train", self.recipe, "--run", self.folder / "limit-alone", *long)
        wait_for_step(self.folder / "limit-alone", last, alone)
        alone.kill()
        finish(alone)
        expected = hashes(self.folder / "limit-alone")
        for name, step in reached.items():
            resumed = hashes(self.folder / name)
            self.assertEqual([resumed[i] for i in range(1, step + 4)], [expected[i] for i in range(1, step + 4)], name)

    def cancel(self, job):
        self.slurm.client("scancel", job, check=True)
        self.slurm.wait("the end", lambda: self.slurm.state(job) == "CANCELLED")

    def cancelled(self):
        """What mpirun began, srun ends."""
        job = self.submit("mpirun", "cancelled")
        self.wait_for_step("cancelled", 8, job)
        self.cancel(job)
        self.assert_ends("cancelled", self.submit("srun", "cancelled"), "COMPLETED", "0:0")
        self.assert_same_run(self.folder / "cancelled")

    def gone_on_from_memory(self):
        """From what a node has there alone."""
        settings = ("--set", "checkpoint.every=0", "--set", "checkpoint.memory_every=1")
        job = self.submit("mpirun", "memory", *settings)
        self.wait_for_step("memory", 8, job)
        self.cancel(job)
        self.assert_ends("memory", self.submit("mpirun", "memory", *settings), "COMPLETED", "0:0")
        self.assert_same_run(self.folder / "memory")
        self.assertEqual(list(self.folder.glob("memory.unsaved-*")), [])
        self.assertIn("goes on after step", self.log("memory"))

    def array(self):
        """One task is asked to stop, saves and is requeued; the other is left alone."""
        job = self.submit("srun", "array", "--set", "seed=%a", "--set", "schedule.epochs=1", "--set",
                          "evaluation.every=0", options=("--array=3,5",), run=f"{self.folder}/array-%a")
        self.slurm.wait("step 2 of 3", lambda: rows(self.folder / "array-3")[1:], 180)
        self.slurm.client("scancel", "--batch", "--signal=USR2", f"{job}_3", check=True)
        self.slurm.start_again(f"{job}_3")
        for task in (3, 5):
            done = self.assert_ends("array", f"{job}_{task}", "COMPLETED", "0:0")
            self.assertEqual(done["Restarts"], "1" if task == 3 else "0")
            self.assertEqual([row["step"] for row in rows(self.folder / f"array-{task}")], list(range(1, 13)))
        self.assertEqual(hashes(self.folder / "array-3"), self.one_epoch(3))

    def one_epoch(self, seed):
        folder = self.folder / f"alone-{seed}"
        subprocess.run([LOCKSTEP, "train", self.recipe, "--run", folder, "--set", f"seed={seed}", "--set",
                        "schedule.epochs=1", "--set", "evaluation.every=0"], check=True, capture_output=True)
        return hashes(folder)

    def chain(self):
        """The first link is asked to stop, saves and ends; the second goes on."""
        environment = {"RECIPE": self.recipe, "RUN": self.folder / "chain", "LOCKSTEP": LOCKSTEP,
                       "BINDING": BINDING["mpirun"], "OMPI_ALLOW_RUN_AS_ROOT": 1, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": 1}
        out = self.slurm.client(FOLDER / "chain.sh", 2, "--ntasks-per-node=1", "--cpus-per-task=1",
                                f"--output={self.folder}/chain-%j.log", TEMPLATES["mpirun"], check=True,
                                **environment).stdout
        first, second = map(int, out.split())
        self.wait_for_step("chain", 3, first)
        self.slurm.client("scancel", "--batch", "--signal=USR2", first, check=True)
        self.assert_ends("chain", first, "FAILED", "75:0")
        self.assert_ends("chain", second, "COMPLETED", "0:0")
        self.assertIn("stopped as asked, saved", self.log("chain"))
        self.assert_same_run(self.folder / "chain")

    def test_pre_empted(self):
        job = self.submit("srun", "pre-empted")
        self.wait_for_step("pre-empted", 3, job)
        urgent = self.slurm.submit("--partition=urgent", "--nodes=2", "--exclusive", f"--output={self.folder}/urgent.log",
                                   "--wrap", "true")
        self.slurm.start_again(job)
        self.assertEqual(self.slurm.state(urgent), "COMPLETED")
        self.assert_ends("pre-empted", job, "COMPLETED", "0:0")
        self.assertIn("stopped as asked, saved", self.log("pre-empted"))
        self.assert_same_run(self.folder / "pre-empted")

    def test_a_node_that_fails(self):
        job = self.submit("mpirun", "node")
        self.wait_for_step("node", 8, job)
        os.kill(self.seat_of("node", 1)[1], signal.SIGSTOP)  # the run cannot end before Slurm misses the node
        self.slurm.kill_node("node2")
        self.slurm.wait("requeue", lambda: self.slurm.job(job).get("Restarts") == "1", 120)
        self.slurm.start_node("node2")
        self.slurm.start_again(job)
        self.assert_ends("node", job, "COMPLETED", "0:0")
        self.assert_same_run(self.folder / "node")

    def by_hand(self):
        """Without a template: as a job of its own that waits its turn."""
        self.assertIn("pmix", self.slurm.client("srun", "--mpi=list", check=True).stdout)
        folder = self.folder / "by-hand"
        self.slurm.client("srun", "--mpi=pmix", "-N", 2, "-n", 2, "--ntasks-per-node=1", "--cpu-bind=none", LOCKSTEP, "train",
                          self.recipe, "--run", folder, check=True, SLURM_PMIX_FENCE="ring")
        self.assertEqual(self.hosts_of("by-hand"), ["node1", "node2"])
        self.assert_same_run(folder)

    def test_single_processes_are_refused(self):
        folder = self.folder / "single"
        done = self.slurm.client("srun", "-N2", "-n2", "--mpi=none", LOCKSTEP, "train", self.recipe, "--run", folder)
        self.assertEqual(done.returncode, 71, done.stderr)
        self.assertIn("error[E403]: srun started 2 processes that do not know of each other", done.stderr)
        self.assertIn("--mpi=pmix", done.stderr)
        self.assertFalse(folder.exists())

    def test_slurm_takes_the_templates_as_they_are(self):
        for template in TEMPLATES.values():
            done = self.slurm.client("sbatch", "--test-only", "--ntasks-per-node=2", "--cpus-per-task=2", template)
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
