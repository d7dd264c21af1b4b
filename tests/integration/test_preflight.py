"""What is looked at before the first step, and `doctor`: each thing that is not well is named with its cure, code 77."""

import json
import os
import shutil
import subprocess
import unittest
from pathlib import Path

from support import LOCKSTEP, MPIRUN, RunTest, environment, rows, run

SHORT = ("--set", "schedule.epochs=1", "--set", "schedule.warmup_epochs=0", "--set", "evaluation.every=0")


class Preflight(RunTest):
    def different(self, one, other, **extra):
        """Two ranks with a command line each."""
        line = [*MPIRUN, "-np", "1", *one, ":", "-np", "1", *other]
        done = subprocess.run([str(word) for word in line], capture_output=True, text=True, timeout=300, check=False,
                              env=environment(extra))
        done.code, done.out, done.err = done.returncode, done.stdout, done.stderr
        return done

    def another_program(self):
        """A copy of ours that is another file."""
        folder = self.folder / "another"
        if not folder.exists():
            folder.mkdir()
            for name in ("lockstep", "lockstep-torch", "liblockstep_cuda.so"):
                shutil.copy(Path(LOCKSTEP).parent / name, folder)
            with open(folder / "lockstep-torch", "ab") as stream:
                stream.write(b"another")
        return folder / "lockstep"

    def test_another_recipe_on_one_rank(self):
        words = ("train", self.recipe, "--run", self.folder / "recipes")
        done = self.different((LOCKSTEP, *words), (LOCKSTEP, *words, "--set", "seed=4"))
        self.assert_error(done, 77, "E703", "recipe: rank", "another recipe than the others")
        self.assertFalse((self.folder / "recipes").exists())  # nothing is left that a new start would trip over

    def test_another_program_by_every_level(self):
        for level, code in (("strict", 77), ("warn", 0), ("off", 0)):
            with self.subTest(level):
                words = ("train", self.recipe, "--run", self.folder / f"program-{level}", *SHORT, "--set",
                         f"check.preflight={level}")
                done = self.different((LOCKSTEP, *words), (self.another_program(), *words))
                self.assertEqual(done.code, code, done.err)
                self.assertEqual(done.err.count("has another program than the others"), 0 if level == "off" else 1)
                self.assertEqual(len(rows(self.folder / f"program-{level}")), 0 if code else 12)

    def test_too_few_cores_are_a_warning(self):
        done = subprocess.run(
            ["taskset", "--cpu-list", "0", LOCKSTEP, "train", self.recipe, "--run", self.folder / "cores", *SHORT, "--set",
             "compute.threads=2"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("warning: cores: rank 0 on ", done.stderr)
        self.assertIn("may use 1 core, computes with 2 threads", done.stderr)

    def test_a_sound_run_is_told_nothing(self):
        done = self.ok(run("train", self.recipe, "--run", self.folder / "sound", *SHORT, ranks=2))
        self.assertNotIn("warning", done.err)


class Doctor(RunTest):
    def findings(self, *words, code=0, ranks=1, **extra):
        done = run("doctor", "--folder", self.folder, "--json", *words, ranks=ranks, **extra)
        self.assertEqual(done.code, code, done.err + done.out)
        answer = json.loads(done.out)
        found = {finding["check"]: finding for finding in answer["findings"]}
        self.assertEqual("FAILED" in [finding["result"] for finding in answer["findings"]], code == 77)
        for finding in answer["findings"]:
            self.assertEqual(finding["mend"] == "", finding["result"] == "ok", finding)
        return found

    def test_all_of_it_on_two_ranks(self):
        found = self.findings(self.recipe, ranks=2)
        self.assertLessEqual({"launch", "LibTorch", "bf16", "CUDA", "storage", "program", "recipe", "data", "processor", "cores",
                              "memory", "/dev/shm", "open files", "locked memory", "clock", "sum", "network"}, set(found))
        self.assertIn("2 ranks on 1 host", found["launch"]["found"])
        self.assertEqual(list(self.folder.glob(".lockstep*")), [])

    def test_people_get_a_table(self):
        done = self.ok(run("doctor", "--folder", self.folder, LOCKSTEP_FAULT="nan@rank7:step1"))
        self.assertRegex(done.out, r"(?m)^ok +storage +'")
        self.assertRegex(done.out, r"(?m)^warning +environment +LOCKSTEP_FAULT is set.*\n +mend: unset")
        self.assertRegex(done.out, r"\d+ ok, \d+ to look at, 0 that will fail\n$")

    def test_processes_that_do_not_know_of_each_other(self):
        slurm = {"SLURM_PROCID": 0, "SLURM_STEP_NUM_TASKS": 2, "SLURM_NTASKS": 2}
        found = self.findings(code=77, **slurm)
        self.assertIn("srun started 2 processes", found["launch"]["found"])
        self.assertIn("--mpi=pmix", found["launch"]["mend"])
        done = run("doctor", **{**slurm, "SLURM_PROCID": 1})
        self.assertEqual((done.code, done.out), (77, ""))  # one speaks for all

    def test_a_folder_that_cannot_be_written(self):
        done = run("doctor", "--folder", "/proc", "--json")
        self.assertEqual(done.code, 77)
        self.assertIn("/proc", next(f for f in json.loads(done.out)["findings"] if f["check"] == "storage")["found"])

    def test_a_program_without_its_libraries(self):
        alone = self.folder / "alone"
        alone.mkdir()
        shutil.copy(LOCKSTEP, alone)
        done = subprocess.run([alone / "lockstep", "doctor", "--folder", self.folder], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 77, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^FAILED +LibTorch +.*lockstep-torch does not run.*\n")

    def test_data_and_recipe_that_are_not_there(self):
        found = self.findings(self.recipe, "--set", "data.train=/nowhere", code=77)
        self.assertIn("/nowhere", found["data"]["found"])
        found = self.findings(self.recipe, "--set", "model.nam=resnet18", code=77)
        self.assertIn("did you mean", found["recipe"]["mend"])

    def test_limits(self):
        done = subprocess.run(["sh", "-c", f"ulimit -n 256; {LOCKSTEP} doctor --folder {self.folder}"], text=True,
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"(?m)^warning +open files +rank 0 on .*: 256\n +mend: ulimit")

    def test_gpus_with_errors_and_with_others_processes(self):
        tools = self.folder / "tools"
        tools.mkdir()
        (tools / "nvidia-smi").write_text("#!/bin/sh\necho '0, 0, 17'; echo '1, 3, 20'; echo '2, [N/A], 30000'\n")
        (tools / "nvidia-smi").chmod(0o755)
        done = run("doctor", "--folder", self.folder, PATH=f"{tools}:{os.environ['PATH']}")
        self.assertEqual(done.code, 77, done.out)
        self.assertRegex(done.out, r"(?m)^FAILED +GPU memory +GPU 1 of .* has 3 uncorrected errors$")
        self.assertRegex(done.out, r"(?m)^warning +GPU memory +30000 MB of GPU 2 of ")


if __name__ == "__main__":
    unittest.main()
