"""deploy/run.sh starts again what was broken, and what comes out has the bits of a run that nobody touched."""

import os
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import (LOCKSTEP, MPIRUN, REPOSITORY, RUN_SH, Launcher, RestartedTest, children_of, environment, finish, ranks_of, rows,
                     wait_for_step)


class Restarts(RestartedTest):

    def test_a_run_that_comes_no_further_is_given_up(self):
        folder = self.folder / "stuck"
        done = finish(self.start(folder, LOCKSTEP_FAULT="kill@rank1:step8"))
        self.assertEqual(done.code, 137)
        self.assertIn("3 starts again after step 8 came no further", done.err)
        self.assertEqual(len(rows(folder)), 8)

    def test_what_no_restart_can_mend_is_not_started_again(self):
        for fault, settings, code in (("nan@rank0:step3", (), 76), ("throw@rank1:step3", (), 1),
                                      ("", ("--set", "batch.size=15"), 2)):
            with self.subTest(fault):
                folder = self.folder / f"never-{code}"
                done = finish(self.start(folder, *settings, LOCKSTEP_FAULT=fault))
                self.assertEqual(done.code, code, done.err)
                self.assertNotIn("starting again", done.err)

    def test_a_stop_is_obeyed_or_gone_on_from_as_told(self):
        for options, code in (((), 75), (("--again-when-stopped",), 0)):
            with self.subTest(code):
                folder = self.folder / f"stopped-{code}"
                script = self.start(folder, options=options)
                wait_for_step(folder, 6, script)
                os.kill(script.pid, signal.SIGUSR2)
                done = finish(script)
                self.assertEqual(done.code, code, done.err)
                if code == 0:
                    self.assert_same_run(folder)

    def test_a_suspected_host_is_left_out_where_others_are_enough(self):
        here = os.uname().nodename
        folder = self.folder / "suspected"
        # A launcher that tells its options: the spare host need not be there.
        told, launcher = self.folder / "told", self.folder / "mpirun"
        launcher.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {told}\nwhile [ "$1" != "--host" ]; do shift; done\n'
                            f'shift 2\nexec {" ".join(MPIRUN)} -np 2 "$@"\n')
        launcher.chmod(0o755)
        memory = ("--set", "checkpoint.memory_every=0")
        script = subprocess.Popen(
            [RUN_SH, "-np", "2", "--host", f"{here}:2,spare:2", "--", self.recipe, folder, *memory], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            env=environment({"LOCKSTEP": LOCKSTEP, "MPIRUN": launcher}))
        wait_for_step(folder, 7, script)
        wrapped = children_of(script.pid)[0]
        os.kill(ranks_of(Launcher(wrapped))[0], signal.SIGKILL)
        done = self.ok(finish(script))
        self.assertIn(f"without {here} from here on", done.err)
        first, *_, last = told.read_text().splitlines()
        self.assertIn(f"--host {here}:2,spare:2 ", first)
        self.assertIn("--host spare:2 ", last)
        self.assert_same_run(folder)


class Codes(unittest.TestCase):
    """What is done about each code, of a launcher that does nothing but end with it."""

    def starts(self, *codes, options=(), steps=()):
        """How the script ends and how often it started a run that ends with these codes after these steps, in turn."""
        with tempfile.TemporaryDirectory(prefix="lockstep-test-") as folder:
            launcher, started, run = Path(folder, "mpirun"), Path(folder, "started"), Path(folder, "run")
            launcher.write_text(f'#!/bin/sh\necho >> {started}\nn=$(wc -l < {started})\n'
                                f'set -- {" ".join(map(str, steps))}\neval "step=\\${{$n:-}}"\n'
                                f'[ -z "$step" ] || echo "{{\\"step\\":$step}}" >> {run}/metrics.jsonl\n'
                                f'set -- {" ".join(map(str, codes))}\neval "exit \\${{$n}}"\n')
            launcher.chmod(0o755)
            checkpoint = run / "checkpoints" / "step-00000001"
            checkpoint.mkdir(parents=True)
            (checkpoint / "manifest.json").touch()
            done = subprocess.run([RUN_SH, *options, "-np", "2", "--", "a.toml", run], capture_output=True, text=True,
                                  check=False, env=environment({"MPIRUN": launcher}))
            return done.returncode, len(started.read_text().splitlines())

    def test_what_a_restart_can_mend_is_started_again(self):
        for code in (70, 71, 72, 134, 135, 137, 139, 205, 255):
            self.assertEqual(self.starts(code, 0), (0, 2), code)
        self.assertEqual(self.starts(70, 71, 72, 0), (0, 4))

    def test_who_came_further_may_be_killed_in_the_next_start(self):
        """What it came to is not known from what the next one began with."""
        self.assertEqual(self.starts(137, 137, 137, 137, 137, 137, 0, steps=(1, 2, 2, 3, 3, 4, 5)), (0, 7))
        self.assertEqual(self.starts(*[137] * 6, steps=(1, 2, 1, 2, 2, 2)), (137, 5))

    def test_what_no_restart_can_mend_is_not(self):
        for code in (0, 1, 2, 65, 66, 73, 75, 76, 77):
            self.assertEqual(self.starts(code, 0), (code, 1), code)

    def test_what_was_stopped_is_started_again_when_told_to(self):
        self.assertEqual(self.starts(75, 75, 0, options=("--again-when-stopped",)), (0, 3))


class Environment(unittest.TestCase):
    def test_variables_of_nccl_reach_all_hosts(self):
        with tempfile.TemporaryDirectory(prefix="lockstep-test-") as folder:
            launcher = Path(folder, "mpirun")
            launcher.write_text('#!/bin/sh\necho "$*"\n')
            launcher.chmod(0o755)
            told = subprocess.run([RUN_SH, "-np", "2", "-x", "NCCL_ALGO=Ring", "--", "a.toml", Path(folder, "run")], text=True, check=True,
                                  stdout=subprocess.PIPE, env=environment({"MPIRUN": launcher, "NCCL_ALGO": "Tree", "NCCL_PROTO": "LL"}))
            # Of two that name the same variable mpirun takes the last.
            self.assertIn("-np 2 -x NCCL_ALGO -x NCCL_PROTO -x NCCL_ALGO=Ring ", told.stdout)

    def test_ranks_that_srun_starts_wait_for_each_other(self):
        with tempfile.TemporaryDirectory(prefix="lockstep-test-") as folder:
            launcher = Path(folder, "srun")
            launcher.write_text('#!/bin/sh\necho "$SLURM_PMIX_FENCE"\n')
            launcher.chmod(0o755)
            for given, expected in (({}, "ring"), ({"SLURM_PMIX_FENCE": "mixed"}, "mixed")):
                told = subprocess.run([RUN_SH, "--srun", "-np", "2", "--", "a.toml", Path(folder, "run")], text=True, check=True,
                                      stdout=subprocess.PIPE, env=environment({"PATH": f"{folder}:{os.environ['PATH']}", **given}))
                self.assertEqual(told.stdout.strip(), expected)


class Stops(unittest.TestCase):
    """USR2 at moments at which nobody would hear it."""

    def code(self, launcher, meanwhile="", script=(RUN_SH, "-np", "2", "--", "a.toml")):
        """What a script ends with whose launcher, and whose `meanwhile` (a program that it calls before), are these."""
        with tempfile.TemporaryDirectory(prefix="lockstep-test-") as folder:
            tell = 'tell() { kill -USR2 "$(ps -o pgid= -p $$ | tr -d " ")"; }\n'
            for name, text in (("mpirun", launcher), (meanwhile, "tell\necho")):
                if name:
                    Path(folder, name).write_text(f"#!/bin/bash\n{tell}{text}\n")
                    Path(folder, name).chmod(0o755)
            done = subprocess.run([*script, Path(folder, "run")], capture_output=True, text=True, check=False, start_new_session=True,
                                  env=environment({"PATH": f"{folder}:{os.environ['PATH']}", "RUN": Path(folder, "run"),
                                                   "RECIPE": "a.toml", "SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "1",
                                                   "SLURM_JOB_NODELIST": "here", "RUN_SH": RUN_SH, "SLURM_CONF": "/dev/null"}))
            return done.returncode, done.stderr

    def test_a_launcher_that_loses_it_hears_it_again(self):
        loses = 'trap "[ \\$((heard += 1)) -lt 2 ] || exit 75" USR2\nheard=0\ntell\nwhile :; do sleep 0.01; done'
        self.assertEqual(self.code(loses)[0], 75)

    def test_a_launcher_that_it_ends_had_not_begun(self):
        self.assertEqual(self.code("tell\nexec sleep 60")[0], 75)
        self.assertEqual(self.code("kill -USR2 $$")[0], 140)  # nobody asked

    def test_before_the_launch_it_starts_nothing(self):
        started = "exit 1"
        self.assertEqual(self.code(started, meanwhile="mktemp")[0], 75)
        self.assertEqual(self.code(started)[0], 1)
        for template in ("mpirun", "srun"):
            code, said = self.code(started, "scontrol", ("bash", REPOSITORY / "deploy" / "slurm" / f"{template}.sbatch",))
            self.assertEqual(code, 75, said)


if __name__ == "__main__":
    unittest.main()
