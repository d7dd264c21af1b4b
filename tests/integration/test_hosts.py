"""Two hosts that share nothing but a file system: mpirun over both gives the bits of one; a link that is cut ends the job with
a post-mortem; a run's folder that one of them does not see is refused."""

import json
import os
import signal
import subprocess
import time
import unittest

from cluster import Hosts, call, commands
from support import LOCKSTEP, RUN_SH, SameRunTest, environment, finish, rows, wait_for_step


class TwoHosts(SameRunTest):
    same = ("weights_hash", "loss")

    def setUp(self):
        self.hosts = Hosts()
        self.addCleanup(self.hosts.close)

    def launcher(self, on_second="true"):
        """mpirun with what it takes to reach the second host; `on_second` is done there before its rank."""
        # How mpirun reaches the second host: drops the options, takes the host, runs the rest there. Ends as ssh does
        # when the other side goes.
        agent = self.agent = self.folder / f"agent-{self.id().rsplit('.', 1)[1]}"
        agent.write_text('#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nshift\n'
                         f'nsenter --net=/run/netns/{self.hosts.spaces["node2"]} unshare --uts --mount --ipc '
                         f'sh -c "hostname node2; mount -t tmpfs tmpfs /dev/shm; {on_second}; $*"\n'
                         'code=$?; [ $code -le 128 ] || code=255; exit $code\n')
        agent.chmod(0o755)
        network = f"{self.hosts.network}.0/24"
        return ("mpirun", "--allow-run-as-root", "--bind-to", "none", "--mca", "plm", "rsh", "--mca", "plm_rsh_agent",
                agent, "--mca", "oob_tcp_if_include", network, "--mca", "btl_tcp_if_include", network, "--mca", "btl",
                "tcp,self")

    def line(self, *words, on_second="true", ranks_each=1):
        """mpirun over both, called on the first."""
        return self.hosts.on(
            "node1", *self.launcher(on_second), "--host",
            ",".join(f"{self.hosts.address(name)}:{ranks_each}" for name in Hosts.NAMES), "-np", 2 * ranks_each, LOCKSTEP,
            *words)

    def start_again(self, folder):
        """deploy/run.sh with a rank on each of two hosts, either of which can take both."""
        mpirun, *options = self.launcher()
        words = self.folder / f"{folder.name}.err"
        with words.open("w") as stream:
            script = subprocess.Popen(
                self.hosts.on("node1", RUN_SH, "-np", 2, "--host", "node1:2,node2:2", "--map-by", "node", *options, "--",
                              self.recipe, folder),
                stdout=stream, stderr=stream, start_new_session=True,
                env=environment({"LOCKSTEP": LOCKSTEP, "MPIRUN": mpirun}))
        script.words = words
        return script

    def test_a_host_that_loses_its_rank_or_is_lost_is_left_out(self):
        for lost, message in (("host", "ended with code 2[05]5"), ("rank", r"error\[E802\]: rank 1 on node2")):
            with self.subTest(lost):
                folder = self.folder / f"lost-{lost}"
                script = self.start_again(folder)
                wait_for_step(folder, 7, script)
                while not (heartbeat := folder / "live" / "node2.json").exists():
                    time.sleep(0.05)
                (rank,) = json.loads(heartbeat.read_text())["ranks"]
                for process in self.hosts.processes("node2") if lost == "host" else [rank["process"]]:
                    os.kill(process, signal.SIGKILL)
                done = self.ok(finish(script))
                self.assertRegex(done.err, message)
                self.assertIn("without node2 from here on", done.err)
                self.assert_same_run(folder)

    def test_the_same_bits_as_on_one_host(self):
        for ranks_each in (1, 2):  # alone on its host, or with another to share memory with
            with self.subTest(ranks_each=ranks_each):
                self.train_on_two_hosts(ranks_each)

    def train_on_two_hosts(self, ranks_each):
        folder = self.folder / f"two-{ranks_each}"
        call(*self.line("train", self.recipe, "--run", folder, ranks_each=ranks_each))
        self.assert_same_run(folder)
        ranks = range(2 * ranks_each)
        logs = [(folder / "log" / f"rank-{rank:05d}.log").read_text() for rank in ranks]
        hosts = [Hosts.NAMES[rank // ranks_each] for rank in ranks]
        self.assertEqual([log.split(" on ")[1].split(",")[0] for log in logs], hosts)
        # The table of who sits where.
        for rank, host in enumerate(hosts):
            self.assertRegex(logs[0], rf"rank {rank} on {host}: cores [\d,-]+.*{self.hosts.address(host)}")

    def test_a_folder_that_one_host_does_not_see(self):
        own = self.folder / "own"
        own.mkdir()
        unseen = f"mount -t tmpfs tmpfs {own}"
        for preflight, code, words in (
                ("strict", 77, f"error[E703]: run folder: rank 1 on node2: does not see what rank 0 writes to '{own}'"),
                ("off", 73, f"error[E503]: rank 1: node2 does not see the run's folder '{own}/off'")):
            with self.subTest(preflight=preflight):
                done = call(*self.line("train", self.recipe, "--run", own / preflight, "--set",
                                       f"check.preflight={preflight}", on_second=unseen), check=False)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertEqual(done.stderr.count("error["), 1, done.stderr)
                self.assertIn(words, done.stderr)

    def test_a_link_that_is_cut_in_mid_step(self):
        folder = self.folder / "cut"
        process = subprocess.Popen(self.line("train", self.recipe, "--run", folder, "--set", "check.hang_after=2s",
                                             "--set", "schedule.epochs=1000", "--set", "evaluation.every=0"),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            wait_for_step(folder, 8, process)
            self.hosts.cut()
            cut_at = time.monotonic()
            out, err = process.communicate(timeout=120)
            seconds = time.monotonic() - cut_at
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        # mpirun itself cannot reach its other half any more, and is ended.
        self.assertEqual(process.returncode, -signal.SIGKILL, err)
        self.assertEqual(err.count("error["), 1, err)
        self.assertIn("error[E801]: all 2 ranks entered sum of step", err)
        self.assertIn("look at the network between the hosts", err)
        self.assertLess(seconds, 60)
        (report,) = (folder / "postmortem").glob("*/report.json")
        self.assertEqual([rank["host"] for rank in json.loads(report.read_text())["ranks"]], ["node1", "node2"])
        for host in Hosts.NAMES:
            self.assertTrue((report.parent / f"{host}.json").exists())
        self.assertGreaterEqual(len(rows(folder)), 8)
        def left():
            return [line for line in commands() if str(folder).encode() in line or self.agent.name.encode() in line]
        end = time.monotonic() + 60
        while left() and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(left(), [])  # on either host


if __name__ == "__main__":
    unittest.main()
