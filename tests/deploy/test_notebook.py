"""The notebook, executed by Jupyter's own client on two runs."""

import json
import os
import sys
import unittest

import nbformat
from nbclient import NotebookClient

from deploy_support import FOLDER, REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests" / "integration"))
from support import RunTest, run  # noqa: E402


class Notebook(RunTest):
    def test_it_reads_two_runs(self):
        short = ("--set", "schedule.epochs=1", "--set", "schedule.warmup_epochs=0", "--set", "evaluation.every=1")
        for name, seed in (("one", 3), ("other", 4)):
            self.ok(run("train", self.recipe, "--run", self.folder / name, "--set", f"seed={seed}", *short))
        notebook = nbformat.read(FOLDER / "notebooks" / "metrics.ipynb", as_version=4)
        nbformat.validate(notebook)
        self.assertTrue(all(not cell.get("outputs") for cell in notebook.cells))  # none are kept in the repository
        os.environ["LOCKSTEP_RUNS"] = f"{self.folder}/one:{self.folder}/other"
        NotebookClient(notebook, timeout=120).execute()
        shown = json.dumps([cell["outputs"] for cell in notebook.cells if cell.cell_type == "code"])
        self.assertGreaterEqual(shown.count("image/png"), 2)
        self.assertIn("val_top1", shown)
        self.assertIn("12 steps with hashes, equal in 0; first parted at step 1", shown)


if __name__ == "__main__":
    unittest.main()
