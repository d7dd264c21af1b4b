"""deploy/run.sh starts again what was broken, and what comes out has the bits of a run that nobody touched."""

import os
import signal
import subprocess
import unittest

from support import (LOCKSTEP, MPIRUN, RUN_SH, Launcher, RestartedTest, children_of, environment, finish, ranks_of, rows,
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


if __name__ == "__main__":
    unittest.main()
