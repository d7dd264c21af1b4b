"""What people ask of a run under way: to save, to stop, by file, verb, signal and deadline; and one owner for each run."""

import json
import os
import signal
import socket
import threading
import time
import unittest

from support import RunTest, finish, ranks_of, rows, run, start, wait_for_step

LONG = ("--set", "schedule.epochs=2000", "--set", "checkpoint.every=0", "--set", "evaluation.every=0",
        "--set", "log.weights_hash=false")


class Requests(RunTest):
    def under_way(self, name, *arguments, ranks=2, **extra):
        folder = self.folder / name
        process = start("train", self.recipe, "--run", folder, *LONG, *arguments, ranks=ranks, **extra)
        self.addCleanup(self.end, process)
        wait_for_step(folder, 2, process)
        return folder, process

    def end(self, process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            finish(process)

    def wait_for(self, file, process):
        while not file.exists():
            self.assertIsNone(process.poll())
            time.sleep(0.01)

    def assert_stopped(self, folder, process):
        done = finish(process)
        self.assertEqual(done.code, 75, done.err)
        last = rows(folder)[-1]["step"]
        self.assertEqual([path.name for path in folder.glob("checkpoints/step-*")], [f"step-{last:08d}"])
        self.ok(run("verify", folder))
        self.assertFalse((folder / "lock").exists())
        return last

    def test_ctl_stop(self):
        folder, process = self.under_way("ctl")
        self.ok(run("ctl", folder, "stop"))
        self.assert_stopped(folder, process)
        self.assertFalse((folder / "STOP").exists())
        self.assert_error(run("ctl", folder, "stop"), 2, "E115", "nobody works on")

    def test_a_file_to_save_and_a_file_to_stop(self):
        folder, process = self.under_way("files")
        (folder / "CHECKPOINT").touch()
        self.wait_for(folder / "checkpoints" / "LATEST", process)
        saved = rows(folder)[-1]["step"]
        wait_for_step(folder, saved + 3, process)  # it went on
        (folder / "STOP").touch()
        done = finish(process)
        self.assertEqual(done.code, 75, done.err)
        self.assertEqual(len(list(folder.glob("checkpoints/step-*"))), 2)
        self.ok(run("verify", folder))

    def test_a_signal_to_one_rank_stops_all(self):
        for number in (signal.SIGUSR2, signal.SIGTERM):
            with self.subTest(signal=number.name):
                folder, process = self.under_way(number.name)
                os.kill(ranks_of(process)[1], number)
                self.assert_stopped(folder, process)

    def saving_slowly(self, name, ranks):
        """A run with one checkpoint, each of which takes two seconds more: a signal finds the next half written."""
        folder, process = self.under_way(name, ranks=ranks, LOCKSTEP_FAULT="slow_writes@rank0:step0")
        (folder / "CHECKPOINT").touch()
        self.wait_for(folder / "checkpoints" / "LATEST", process)
        return folder, process

    def assert_obeyed(self, folder, process, code):
        done = finish(process)
        self.assertEqual(done.code, code, done.err)
        self.assertNotIn("error[", done.err)
        self.assert_nothing_left(folder)
        self.assertFalse((folder / "postmortem").exists())
        self.ok(run("verify", folder))

    def test_a_second_term_is_obeyed_at_once_and_harms_nothing(self):
        for ranks, code in ((1, -signal.SIGTERM), (2, 128 + signal.SIGTERM)):
            with self.subTest(ranks=ranks):
                folder, process = self.saving_slowly(f"twice-{ranks}", ranks)
                saved = (folder / "checkpoints" / "LATEST").read_text()
                told = ranks_of(process)[1] if ranks > 1 else process.pid
                os.kill(told, signal.SIGTERM)
                self.wait_for(folder / "checkpoints" / ".being-written", process)
                os.kill(told, signal.SIGTERM)
                self.assert_obeyed(folder, process, code)
                self.assertEqual((folder / "checkpoints" / "LATEST").read_text(), saved)

    def test_a_second_term_to_the_launcher_is_its_own_end_and_harms_nothing(self):
        folder, process = self.saving_slowly("impatient", ranks=2)
        (folder / "CHECKPOINT").touch()
        self.wait_for(folder / "checkpoints" / ".being-written", process)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        self.assert_obeyed(folder, process, 1)

    def test_a_deadline(self):
        folder = self.folder / "deadline"
        done = run("train", self.recipe, "--run", folder, "--deadline", "2s", *LONG, ranks=2)
        self.assertEqual(done.code, 75, done.err)
        self.ok(run("verify", folder))
        self.assert_error(run("resume", folder, "--deadline", "soon"), 2, "E105", "'soon' is not a time", "30m")

    def test_a_run_has_one_owner(self):
        folder, process = self.under_way("owner")
        self.ok(run("ctl", folder, "checkpoint"))
        self.wait_for(folder / "checkpoints" / "LATEST", process)
        self.assert_error(run("resume", folder), 2, "E114", "is being worked on by process", socket.gethostname())
        (folder / "STOP").touch()
        self.assertEqual(finish(process).code, 75)

    def test_a_change_of_the_recipe_is_refused_and_allowed_by_name(self):
        folder = self.folder / "changed"
        self.ok(run("train", self.recipe, "--run", folder, "--set", "schedule.epochs=1", "--set", "evaluation.every=0"))
        longer = ("--set", "schedule.epochs=2", "--set", "optimizer.weight_decay=0.1", "--allow-change", "schedule.epochs")
        self.assert_error(run("resume", folder, *longer), 2, "E111", "optimizer.weight_decay: 0.02 -> 0.1", "--allow-change")
        done = run("resume", folder, *longer[:-2])
        self.assert_error(done, 2, "E111", "optimizer.weight_decay: 0.02 -> 0.1", "schedule.epochs: 1 -> 2")
        self.ok(run("resume", folder, *longer, "--allow-change", "optimizer.weight_decay"))
        self.assertEqual(rows(folder)[-1]["step"], 24)
        self.ok(run("resume", folder))  # it stays so
        self.ok(run("verify", folder))

    def owned_by(self, folder, **owner):
        lock = {"host": socket.gethostname(), "process": 1, "process_start": "1", "job": "", **owner}
        (folder / "lock").write_text(json.dumps(lock))

    def test_an_abandoned_run_is_taken_over(self):
        folder = self.folder / "abandoned"
        self.ok(run("train", self.recipe, "--run", folder, "--set", "schedule.epochs=1", "--set", "evaluation.every=0"))
        self.owned_by(folder, process=2**22 + 1)  # no such process here
        self.ok(run("resume", folder))
        self.owned_by(folder, process=os.getpid())  # the number came back as another process
        self.ok(run("resume", folder))
        self.owned_by(folder, host="elsewhere")
        os.utime(folder / "lock", (1, 1))
        self.ok(run("resume", folder))

    def test_a_run_that_another_host_works_on_is_left_alone(self):
        folder = self.folder / "elsewhere"
        self.ok(run("train", self.recipe, "--run", folder, "--set", "schedule.epochs=1", "--set", "evaluation.every=0"))
        self.owned_by(folder, host="elsewhere", job="4711")
        ended = threading.Event()

        def touch():
            while not ended.wait(0.2):
                os.utime(folder / "lock")

        toucher = threading.Thread(target=touch)
        toucher.start()
        try:
            self.assert_error(run("resume", folder), 2, "E114", "process 1 on elsewhere, job 4711", "ctl RUN stop")
        finally:
            ended.set()
            toucher.join()


if __name__ == "__main__":
    unittest.main()
