"""The command line is a contract: its help texts are frozen in command_line/.

LOCKSTEP_FREEZE=1 writes them anew; the difference then shows what changes for users."""

import os
import unittest
from pathlib import Path

from support import run

FROZEN = Path(__file__).parent / "command_line"
VERBS = ["", "train", "resume", "eval", "export", "validate", "plan", "batch", "preview", "data", "data make",
         "data pack", "bench", "bench data", "bench step", "bench sum", "bench checkpoint", "status", "ctl", "inspect", "verify",
         "plot", "metrics", "completions", "manual", "doctor"]


class CommandLine(unittest.TestCase):
    maxDiff = None

    def test_help(self):
        for verb in VERBS:
            with self.subTest(verb=verb):
                done = run(*verb.split(), "--help")
                self.assertEqual((done.code, done.err), (0, ""))
                file = FROZEN / f"{verb.replace(' ', '_') or 'lockstep'}.txt"
                if os.environ.get("LOCKSTEP_FREEZE"):
                    FROZEN.mkdir(exist_ok=True)
                    file.write_text(done.out)
                self.assertEqual(done.out, file.read_text())

    def test_every_verb_is_frozen(self):
        self.assertEqual(sorted(file.stem for file in FROZEN.iterdir()),
                         sorted(verb.replace(" ", "_") or "lockstep" for verb in VERBS))

    def test_version(self):
        self.assertRegex(run("--version").out, r"^lockstep \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main()
