"""Completions in the shells themselves, manual pages by a formatter that complains; both say what the help says."""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from deploy_support import LOCKSTEP


def lockstep(*words):
    return subprocess.run([LOCKSTEP, *words], capture_output=True, text=True, check=True).stdout


def commands(*path):
    """Every verb as its words, by the help texts."""
    yield path
    listed = re.search(r"Subcommands:\n(.*)", lockstep(*path, "--help"), re.DOTALL)
    for name in re.findall(r"^  (\w+)", listed.group(1), re.MULTILINE) if listed else ():
        yield from commands(*path, name)


def options(path):
    return set(re.findall(r"^  (?:-\w,)?(--[\w-]+)", lockstep(*path, "--help"), re.MULTILINE))


# A zsh with its completion system, that shows the line where it is asked to.
ZSHRC = """\
PS1=
fpath=($ZDOTDIR $fpath)
autoload -Uz compinit
compinit -u -D
bindkey '^I' complete-word
report() { print -r -- "BUFFER:$BUFFER:"; BUFFER=; zle accept-line }
zle -N report
bindkey '^X' report
print READY
"""
ZSH_TERMINAL = r"""
zmodload zsh/zpty
zpty shell zsh -i
while zpty -r shell line; do [[ $line == *READY* ]] && break; done
zpty -n -w shell "$1"$'\t'$'\C-x'
while zpty -r shell line; do [[ $line == *BUFFER:* ]] && { print -r -- "$line"; break }; done
zpty -d shell
"""


class Completions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.files = {}
        for shell in ("bash", "zsh", "fish"):
            cls.files[shell] = Path(temporary.name) / shell
            cls.files[shell].write_text(lockstep("completions", shell))
        cls.zsh_folder = Path(temporary.name) / "zdotdir"
        cls.zsh_folder.mkdir()
        (cls.zsh_folder / "_lockstep").write_text(lockstep("completions", "zsh"))
        (cls.zsh_folder / ".zshrc").write_text(ZSHRC)

    def bash(self, *words):
        """What bash offers for the last of the words."""
        script = (f'source "{self.files["bash"]}"; COMP_WORDS=(lockstep "$@"); COMP_CWORD=$#; _lockstep; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "--norc", "-c", script, "bash", *words], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    def fish(self, *words):
        script = f'source {self.files["fish"]}; complete -C "lockstep {" ".join(words)}"'
        done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True)
        self.assertEqual(done.stderr, "")
        return {line.split("\t")[0] for line in done.stdout.splitlines()}

    def zsh(self, line):
        """What the line becomes when somebody presses the tabulator in a terminal."""
        done = subprocess.run(["zsh", "-f", "-c", ZSH_TERMINAL, "zsh", line], capture_output=True, text=True, check=True,
                              env={**os.environ, "ZDOTDIR": str(self.zsh_folder), "TERM": "xterm"}, timeout=120)
        return re.search("BUFFER:(.*?):", done.stdout).group(1)

    def test_verbs_and_options_in_bash_and_fish(self):
        verbs = {path[0] for path in commands() if path}
        for shell in (self.bash, self.fish):
            self.assertEqual({word for word in shell("") if not word.startswith("-")} & verbs, verbs)
            self.assertEqual(shell("tr"), {"train"})
            self.assertLessEqual({"make", "pack"}, shell("data", ""))
            self.assertEqual(shell("data", "make", "--va"), {"--validation"})
            self.assertEqual(shell("bench", "data", "--st"), {"--steps"})
            self.assertEqual(shell("ctl", "nosuchrun", "st"), {"stop"})
            self.assertEqual(shell("export", "RUN", "--format", "ti"), {"timm"})
        for path in commands():
            with self.subTest(verb=path):
                self.assertLessEqual(options(path), self.bash(*path, "--"))

    def test_zsh(self):
        subprocess.run(["zsh", "-n", self.files["zsh"]], check=True)
        for line, becomes in (("tr", "train "), ("data make --va", "data make --validation "), ("ctl RUN st", "ctl RUN stop "),
                              ("bench da", "bench data "), ("export RUN --format ti", "export RUN --format timm ")):
            self.assertEqual(self.zsh(f"lockstep {line}"), f"lockstep {becomes}")
        text = self.files["zsh"].read_text()
        for path in commands():
            function = text.split("_".join(("_lockstep", *path)) + "() {")[1].split("\n}\n")[0]
            for option in options(path):
                self.assertIn(f"{option}[", function)


class Manual(unittest.TestCase):
    def test_every_verb_has_a_page_without_a_complaint(self):
        with tempfile.TemporaryDirectory() as folder:
            lockstep("manual", "--out", folder)
            pages = {page.name: page for page in Path(folder).iterdir()}
            self.assertEqual(set(pages), {"-".join(("lockstep", *path)) + ".1" for path in commands()})
            done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *pages.values()], capture_output=True, text=True,
                                  check=False)
            self.assertEqual((done.returncode, done.stdout), (0, ""))
            for path in commands():
                page = "-".join(("lockstep", *path)) + ".1"
                shown = subprocess.run(["mandoc", "-Tutf8", pages[page]], capture_output=True, text=True, check=True).stdout
                plain = re.sub(r".\x08", "", shown)
                for option in options(path):
                    self.assertIn(option, plain)

    def test_a_verb_that_is_not_there(self):
        done = subprocess.run([LOCKSTEP, "manual", "trian"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("error[E100]: there is no verb 'trian'", done.stderr)


if __name__ == "__main__":
    unittest.main()
