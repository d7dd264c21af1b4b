"""The documents: their links lead somewhere, every command that they show is one that the program takes, every key is a
recipe's, and every number that a run can end with or print is explained."""

import json
import os
import re
import shlex
import subprocess
import unittest
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKSTEP = os.environ.get("LOCKSTEP") or str(REPOSITORY / "build" / "lockstep")
# With all optimizers that have keys of their own.
PLANS = (("jobs/rsb/recipes/a3_resnet50.toml",), ("jobs/rsb/recipes/a3_resnet50.toml", "--set", "optimizer.name=sgd"),
         ("jobs/dino/recipes/vit_small_16.toml",))
SCRIPTS = {"run.sh", "demo.sh", "setup.sh", "build.sh", "chain.sh", "mpirun.sbatch", "srun.sbatch"}


def files(*patterns):
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns], cwd=REPOSITORY,
                         capture_output=True, text=True, check=True).stdout
    return [REPOSITORY / name for name in out.split()]


DOCUMENTS = files("*.md")


def show(path):
    return str(path.relative_to(REPOSITORY))


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(path):
    """As GitHub makes them of headings."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(path):
    """The lines of code blocks that call lockstep, with continued ones joined and comments cut off."""
    for block in re.findall(r"```\w*\n(.*?)```", path.read_text(), flags=re.DOTALL):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            if "lockstep" not in line:
                continue
            words = shlex.split(line, comments=True)
            places = [i for i, word in enumerate(words) if word in ("lockstep", "build/lockstep", "$LOCKSTEP")]
            if places:
                yield line, words[places[0] + 1:]


def mentions(path):
    """The same of words in running text, as `lockstep bench data RECIPE`."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for code in re.findall(r"`([^`]*)`", text):
        words = " ".join(code.split()).split()
        if "lockstep" in words:
            yield code, words[words.index("lockstep") + 1:]


@cache
def help_of(*verb):
    done = subprocess.run([LOCKSTEP, *verb, "--help"], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


@cache
def verbs_below(*verb):
    listed = re.search(r"Subcommands:\n(.*)", help_of(*verb), re.DOTALL)
    return set(re.findall(r"^  (\w+)", listed.group(1), re.MULTILINE)) if listed else set()


@cache
def keys():
    """Every key of every job."""
    found = set()
    for recipe, *settings in PLANS:
        plan = json.loads(subprocess.run([LOCKSTEP, "plan", REPOSITORY / recipe, "--samples", "1281167", "--json", *settings],
                                         capture_output=True, text=True, check=True).stdout)
        for table, value in plan["recipe"].items():
            found |= {f"{table}.{key}" for key in value} if isinstance(value, dict) else {table}
    return found


def keys_in_tables(path, title, column):
    """What a column of that title names: `table.key`, and `key` of the same table after it; with or without a value."""
    named = set()
    for head, rows in re.findall(r"(?m)^(\|.*)\n\|[-|]+\n((?:\|.*\n)+)", path.read_text()):
        titles = [cell.strip() for cell in head.strip("|").split("|")]
        if titles[column] != title:
            continue
        for row in rows.splitlines():
            table = None
            for key in re.findall(r"`([a-z_]+(?:\.[a-z_]+)?)(?: = [^`]*)?`", row.strip("|").split("|")[column]):
                table = key.rpartition(".")[0] or table
                named.add(key if "." in key or table is None else f"{table}.{key}")
    return named


class Documents(unittest.TestCase):
    def test_links_lead_somewhere(self):
        seen = 0
        for path in DOCUMENTS:
            for link in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
                if re.match(r"\w+:", link):
                    with self.subTest(document=show(path), link=link):
                        self.assertRegex(link, r"^https?://[\w-]+(\.[\w-]+)+(/[\w./~%#?=&+-]*)?$")
                    continue
                seen += 1
                name, _, anchor = link.partition("#")
                target = (path.parent / name).resolve() if name else path
                with self.subTest(document=show(path), link=link):
                    self.assertTrue(target.exists())
                    if anchor:
                        self.assertIn(anchor, anchors(target))
        self.assertGreater(seen, 10)

    def test_files_that_are_named_exist(self):
        folders = "|".join(folder.name for folder in REPOSITORY.iterdir() if folder.is_dir() and folder.name[0] != ".")
        for path in DOCUMENTS:
            for name in re.findall(rf"`((?:{folders})/[\w/.-]+)`", path.read_text()):
                if not name.startswith(("runs/", "build/")):
                    with self.subTest(document=show(path), name=name):
                        self.assertTrue((REPOSITORY / name).exists())

    def refuse(self, words):
        """What the parser would not take of `words`, or None."""
        verb = ()
        while len(words) > len(verb) and verbs_below(*verb) and words[len(verb)] in verbs_below(*verb):
            verb = (*verb, words[len(verb)])
        rest = words[len(verb):]
        if not verb and rest and rest[0].islower() and rest[0][0] != "-" and rest[0] != "watch":  # not for people
            return f"there is no verb {rest[0]}"
        for word, value in zip(rest, [*rest[1:], ""]):
            if not word.startswith("--") or word == "--":
                continue
            name, _, given = word.partition("=")
            if not re.search(rf"^  (-\w,)?{name}\b", help_of(*verb), re.MULTILINE):
                return f"{' '.join(verb)} has no {name}"
            key = (given or value).partition("=")[0]
            if name == "--set" and "." in key and key not in keys():
                return f"there is no key {key}"
        return None

    def test_commands_are_ones_that_the_program_takes(self):
        seen = 0
        for path in DOCUMENTS:
            for line, words in [*commands(path), *mentions(path)]:
                seen += 1
                with self.subTest(document=show(path), command=line):
                    # What follows a shell's operator is another command.
                    end = next((i for i, word in enumerate(words) if word in (">", "|", "&&", ";", "&")), len(words))
                    self.assertIsNone(self.refuse(words[:end]))
        self.assertGreater(seen, 40)

    def test_the_check_of_commands_can_fail(self):
        self.assertIn("no verb", self.refuse(["trian", "a3.toml"]))
        self.assertIn("has no --ran", self.refuse(["train", "a3.toml", "--ran", "x"]))
        self.assertIn("no key", self.refuse(["train", "a3.toml", "--set", "batch.sise=3"]))
        self.assertIn("has no --epochs", self.refuse(["bench", "step", "RECIPE", "--epochs", "3"]))

    def test_scripts_that_are_called_exist(self):
        for path in DOCUMENTS:
            for name in re.findall(r"\b((?:deploy|tests)/[\w/]+\.(?:sh|sbatch|py))\b", path.read_text()):
                with self.subTest(document=show(path), script=name):
                    self.assertTrue((REPOSITORY / name).exists())

    def test_every_key_of_a_recipe_is_explained(self):
        named = keys_in_tables(REPOSITORY / "docs" / "recipes.md", "key", 0)
        self.assertEqual(named - keys(), set())
        self.assertEqual(keys() - named, set())

    def test_keys_in_coming_from_are_keys(self):
        named = keys_in_tables(REPOSITORY / "docs" / "coming_from.md", "recipe", 1)
        self.assertGreater(len(named), 50)
        self.assertEqual(named - keys(), set())

    def test_every_variable_of_the_environment_is_explained(self):
        table = (REPOSITORY / "docs" / "operations.md").read_text().split("## Environment")[1].split("\n## ")[0]
        explained = set(re.findall(r"`(LOCKSTEP(?:_[A-Z]+)+)`", table))
        used = {name for path in files("*.cpp", "*.sh", "*.sbatch", "*.ipynb")
                for name in re.findall(r"(?:getenv\(\"|\$\{?|environ\.get\(\\?\")(LOCKSTEP_[A-Z_]+)", path.read_text())}
        self.assertEqual(used, explained)

    def test_every_number_of_an_error_is_explained(self):
        used = {number for path in files("*.cpp", "*.h", "*.cu") if "tests" not in path.parts
                for number in re.findall(r"\"(E\d{3})\"", path.read_text())}
        table = (REPOSITORY / "docs" / "operations.md").read_text().split("## Errors")[1].split("\n## ")[0]
        explained = set()
        for first, last in re.findall(r"\b(E\d{3})(?: to (E\d{3}))?", table):
            explained |= {f"E{number}" for number in range(int(first[1:]), int((last or first)[1:]) + 1)}
        self.assertEqual(used - explained, set())
        self.assertEqual(explained - used, set())

    def test_exit_codes_are_the_same_in_all_places(self):
        header = (REPOSITORY / "comm" / "error.h").read_text().split("enum class ExitCode")[1].split("};")[0]
        codes = sorted(int(code) for code in re.findall(r"= (\d+)", header))
        table = (REPOSITORY / "docs" / "operations.md").read_text().split("## Exit codes")[1].split("\n## ")[0]
        self.assertEqual(sorted(int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)), codes)
        page = subprocess.run([LOCKSTEP, "manual"], capture_output=True, text=True, check=True).stdout
        status = page.split(".SH EXIT STATUS")[1].split(".SH")[0]
        self.assertEqual(sorted(int(code) for code in re.findall(r"\\fB(\d+)\\fR", status)), codes)


if __name__ == "__main__":
    unittest.main()
