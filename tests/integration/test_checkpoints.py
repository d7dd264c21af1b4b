"""Checkpoints in two tiers: copies in a node's memory that outlive the ranks, and files that never lie."""

import re
import subprocess
import time
import unittest

from support import LOCKSTEP, RESNET, RunTest, SameRunTest, environment, finish, rows, run, start

MEBIBYTE = 1 << 20


def goes_on_after(done):
    return int(re.search(r"goes on after step (\d+)", done.err)[1])


def flip_a_bit(file, place):
    with open(file, "r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))


class Copies(SameRunTest):
    """Nothing but the last step goes to the disk: what a killed run comes back to was in memory."""

    recipe_text = RESNET

    def settings(self, name):
        memory = self.folder / f"memory-{name}"
        memory.mkdir()
        return memory, ("--set", "checkpoint.every=0", "--set", "checkpoint.memory_every=1",
                        "--set", f"checkpoint.memory_folder={memory}")

    def test_a_killed_run_goes_on_from_memory_on_any_world(self):
        for ranks, others in ((2, (4, 1)), (4, (2, 2))):
            with self.subTest(ranks=ranks):
                folder = self.folder / f"killed-{ranks}"
                memory, settings = self.settings(f"killed-{ranks}")
                self.killed(("train", self.recipe, "--run", folder, *settings), folder, 6, ranks=ranks)
                before = len(rows(folder))
                self.killed(("resume", folder, *settings), folder, 15, ranks=others[0])
                done = self.ok(run("resume", folder, *settings, ranks=others[1]))
                self.assertGreaterEqual(goes_on_after(done), 13)  # the copy of step 14 may not have been whole
                self.assertGreaterEqual(before, 6)
                self.assert_same_run(folder)
                self.assertEqual([path for path in memory.rglob("*") if path.is_file()], [])

    def test_a_run_that_was_killed_before_its_last_checkpoint_was_written_has_it_in_the_end(self):
        folder = self.folder / "last"
        _, settings = self.settings("last")
        # Its last checkpoint takes two seconds more: it is in memory by then.
        process = start("train", self.recipe, "--run", folder, *settings, LOCKSTEP_FAULT="slow_writes@rank0:step24")
        written = folder / "checkpoints" / ".being-written" / "average.safetensors"  # the last of its files
        while not written.exists():
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        process.kill()
        finish(process)
        done = self.ok(run("resume", folder, *settings))
        self.assertEqual(goes_on_after(done), 24)
        self.assertIn("step-00000024: sound", self.ok(run("verify", folder)).out)
        self.assert_same_run(folder)

    def test_a_copy_that_is_not_what_was_copied_is_none(self):
        folder = self.folder / "damaged"
        memory, settings = self.settings("damaged")
        self.killed(("train", self.recipe, "--run", folder, *settings, "--set", "checkpoint.every=5"), folder, 8)
        copies = sorted(memory.glob("*/*/copy-*"))
        self.assertEqual(len(copies), 2)
        for copy in copies:
            flip_a_bit(copy, copy.stat().st_size // 2)
        done = self.ok(run("resume", folder, *settings, ranks=2))
        self.assertEqual(goes_on_after(done), 5)
        self.assert_same_run(folder)

    def test_what_the_disk_gets_is_not_overwritten_by_the_next_copies(self):
        folders = []
        for every in (0, 1):
            _, settings = self.settings(f"every-{every}")
            folders.append(self.folder / f"every-{every}")
            self.ok(run("train", self.recipe, "--run", folders[-1], *settings, "--set", "checkpoint.every=3",
                        "--set", "checkpoint.keep=8", "--set", f"checkpoint.memory_every={every}", ranks=2))
        files = [sorted(folder.glob("checkpoints/*/*.safetensors")) for folder in folders]
        self.assertEqual(len(files[0]), 8 * 4)
        for one, other in zip(*files, strict=True):
            self.assertEqual(one.read_bytes(), other.read_bytes(), one)

    def test_another_run_in_the_same_folder_gets_no_copy(self):
        folder = self.folder / "again"
        _, settings = self.settings("again")
        self.killed(("train", self.recipe, "--run", folder, *settings), folder, 6)
        folder.rename(self.folder / "moved-away")
        self.killed(("train", self.recipe, "--run", folder, *settings, "--set", "seed=4"), folder, 1)
        (folder / "run.json").unlink()
        self.assert_error(run("resume", folder, *settings), 66, "E301", "no checkpoint")

    def test_no_room_in_memory_is_said_and_stops_nothing(self):
        folder = self.folder / "no-room"
        done = self.ok(run("train", self.recipe, "--run", folder, "--set", "checkpoint.memory_every=1",
                           "--set", "checkpoint.memory_folder=/proc", ranks=2))
        self.assertEqual(done.err.count("warning:"), 1, done.err)
        self.assertIn("no copies of the state in this node's memory", done.err)
        self.assert_same_run(folder)


class Intervals(RunTest):
    def test_how_often_is_checked(self):
        for every in ("auto", "0", "500", "90s", "10m"):
            self.ok(run("validate", self.recipe, "--set", f"checkpoint.every={every}"))
        self.assert_error(run("validate", self.recipe, "--set", "checkpoint.every=often"), 2, "E105",
                          "checkpoint.every", "auto")


class FullDisk(RunTest):
    """The run's folder on a file system of its own, as small as is wanted."""

    recipe_text = RESNET

    def on_a_disk_of(self, mebibytes, script):
        """`script` in a shell whose $disk is that file system and whose $lockstep and $recipe are ours."""
        mount = self.folder / "disk"
        mount.mkdir(exist_ok=True)
        preamble = f"mount -t tmpfs -o size={mebibytes}m none {mount} && "
        return subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", preamble + script], text=True,
            capture_output=True, timeout=300, check=False,
            env=environment({"disk": mount, "lockstep": LOCKSTEP, "recipe": self.recipe}))

    def test_no_room_for_one_checkpoint_is_found_before_the_first_step(self):
        done = self.on_a_disk_of(100, "$lockstep train $recipe --run $disk/run; code=$?; cat $disk/run/metrics.jsonl;"
                                      "exit $code")
        self.assertEqual(done.returncode, 73, done.stderr)
        self.assertIn("error[E502]", done.stderr)
        self.assertIn("a checkpoint takes 17", done.stderr)
        self.assertEqual(done.stdout.count('"step"'), 0)

    def test_a_disk_that_fills_up_harms_no_checkpoint_and_is_forgiven(self):
        # One checkpoint fits, two do not, until somebody makes room.
        done = self.on_a_disk_of(300, """
            $lockstep train $recipe --run $disk/run --set checkpoint.keep=1 --set checkpoint.every=8
            echo code $?; $lockstep verify $disk/run
            mount -o remount,size=900m $disk
            $lockstep resume $disk/run --set checkpoint.keep=1; echo code $?; $lockstep verify $disk/run""")
        answers = [line.rsplit("/", 1)[-1] for line in done.stdout.splitlines()]
        self.assertEqual(answers, ["code 73", "step-00000008: sound, 4 files",
                                   "code 0", "step-00000024: sound, 4 files"], done.stderr)
        self.assertIn("warning: a checkpoint could not be written", done.stderr)
        self.assertIn("No space left on device", done.stderr)
        self.assertIn("error[E501]", done.stderr)

    def test_a_folder_that_cannot_be_written(self):
        done = self.on_a_disk_of(900, """
            $lockstep train $recipe --run $disk/run --set schedule.epochs=1 --set schedule.warmup_epochs=0
            mount -o remount,ro $disk; $lockstep resume $disk/run; echo code $?; $lockstep verify $disk/run""")
        self.assertIn("code 73\n", done.stdout)
        self.assertIn("step-00000012: sound", done.stdout)
        self.assertIn("Read-only file system", done.stderr)


if __name__ == "__main__":
    unittest.main()
