"""The same pictures are the same training: from folders, links, lists and shards, and with some that cannot be read."""

import io
import json
import os
import re
import shutil
import signal
import tarfile
import unittest

from support import RunTest, hashes, run, start, wait_for_step, finish, ranks_of


class Sources(RunTest):
    STEPS = 12

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.train_folder = cls.data / "train"
        cls.shards = cls.folder / "shards"
        cls.packed = run("data", "pack", cls.train_folder, cls.shards, "--pictures", 64)
        assert cls.packed.code == 0, cls.packed.err
        cls.expected = cls.weights_of("folders", cls.train_folder)

    @classmethod
    def weights_of(cls, name, train, *more, ranks=1):
        done = run("train", cls.recipe, "--run", cls.folder / name, "--set", f"data.train={train}",
                   "--set", "schedule.epochs=1", "--set", "evaluation.every=0", *more, ranks=ranks)
        assert done.code == 0, done.err
        return hashes(cls.folder / name)

    def test_links_that_lead_back_end(self):
        linked = self.folder / "linked"
        linked.mkdir()
        for number, folder in enumerate(sorted(self.train_folder.iterdir())):
            if number % 2 == 0:
                (linked / folder.name).symlink_to(folder)
                continue
            (linked / folder.name).mkdir()
            for picture in folder.iterdir():
                (linked / folder.name / picture.name).symlink_to(picture)
            (linked / folder.name / "back").symlink_to(linked)  # leads here again and again
            (linked / folder.name / "self").symlink_to("self")
        plan = json.loads(self.ok(run("plan", self.recipe, "--json", "--set", f"data.train={linked}", "--set",
                                      "augmentation.repeats=1")).out)
        # Even classes have 20 pictures; odd ones 20 and by their way back the 180 of all the others.
        self.assertEqual(plan["steps_per_epoch"], (5 * 20 + 5 * 200) // 16)

    def test_links_lead_to_the_same(self):
        linked = self.folder / "linked-plain"
        linked.mkdir()
        for folder in self.train_folder.iterdir():
            (linked / folder.name).symlink_to(folder)
        self.assertEqual(self.weights_of("of-links", linked), self.expected)

    def test_a_list_in_any_order(self):
        pictures = sorted(self.train_folder.glob("*/*.jpg"), key=lambda path: path.name)
        lines = [f"{path.relative_to(self.data)},{path.parent.name}" for path in pictures]
        text = self.data / "train.csv"
        text.write_text("path,label\n# drawn\n\n" + "\r\n".join(lines) + "\n")
        self.assertEqual(self.weights_of("of-list", text), self.expected)

    def test_shards(self):
        self.assertEqual(len(list(self.shards.glob("shard-*.tar"))), 4)
        self.assertEqual(self.weights_of("of-shards", self.shards), self.expected)
        self.assertEqual(self.weights_of("of-shards-2", self.shards, "--set", "data.threads=5", ranks=2),
                         self.expected)

    def test_pictures_that_the_device_normalises(self):
        self.assertEqual(self.weights_of("by-device", self.train_folder, "--set", "data.normalise=device"), self.expected)

    def test_shards_without_their_index(self):
        """As other programs leave them: labels in .cls, a class for each number."""
        bare = self.folder / "bare"
        shutil.copytree(self.shards, bare, ignore=shutil.ignore_patterns("index*"))
        self.assertEqual(self.weights_of("of-bare", bare, "--set", "data.val="), self.expected)

    def test_shards_are_read_by_others(self):
        names = []
        for shard in sorted(self.shards.glob("*.tar")):
            with tarfile.open(shard) as tar:
                names += tar.getnames()
        self.assertEqual(names[:4], ["000000000.jpg", "000000000.cls", "000000001.jpg", "000000001.cls"])
        self.assertEqual(len(names), 2 * 200)
        pictures = sorted(self.train_folder.glob("*/*.jpg"))
        with tarfile.open(self.shards / "shard-000000.tar") as tar:
            self.assertEqual(tar.extractfile("000000007.jpg").read(), pictures[7].read_bytes())
            self.assertEqual(tar.extractfile("000000063.cls").read(), b"3")

    def test_packing_goes_on_and_verifies(self):
        again = self.folder / "again"
        shutil.copytree(self.shards, again)
        (again / "index.safetensors").rename(again / "index.safetensors.unfinished")
        (again / "shard-000003.tar").unlink()
        with open(again / "shard-000001.tar", "r+b") as shard:  # a bit of a picture
            shard.seek(700)
            byte = shard.read(1)
            shard.seek(700)
            shard.write(bytes([byte[0] ^ 1]))
        done = run("validate", self.recipe, "--set", f"data.train={again}")
        self.assert_error(done, 65, "E211", "interrupted", "data pack")
        done = self.ok(run("data", "pack", self.train_folder, again, "--pictures", 64))
        self.assertIn("2 shards written, 2 found", done.err)
        for file in self.shards.iterdir():
            self.assertEqual((again / file.name).read_bytes(), file.read_bytes(), file.name)
        self.assertEqual(sorted(p.name for p in again.iterdir()), sorted(p.name for p in self.shards.iterdir()))

    def test_packing_refuses_other_folders(self):
        self.assert_error(run("data", "pack", self.train_folder, self.data), 2, "E110", "something else")
        self.assert_error(run("data", "pack", self.folder / "absent", self.folder / "out"), 65, "E201")

    def test_a_resume_takes_the_set_from_elsewhere_but_no_other_one(self):
        folder = self.folder / "moves"
        process = start("train", self.recipe, "--run", folder, "--set", "schedule.epochs=1", "--set",
                        "evaluation.every=0", ranks=2)
        try:
            wait_for_step(folder, 6, process)
            os.kill(ranks_of(process)[-1], signal.SIGKILL)
        finally:
            self.assertNotEqual(finish(process).code, 0)
        changed = self.folder / "changed"
        shutil.copytree(self.train_folder, changed)
        next(iter(sorted((changed / "dots").iterdir()))).unlink()
        shutil.copy(next((changed / "star").iterdir()), changed / "star" / "new.jpg")
        done = run("resume", folder, "--set", f"data.train={changed}")
        self.assert_error(done, 65, "E210", "1 gone, as 'dots/", "1 new, as 'star/new.jpg'")
        other = self.folder / "other-val"
        shutil.copytree(self.data / "val", other)
        shutil.copy(next((other / "star").iterdir()), other / "star" / "new.jpg")
        done = self.ok(run("resume", folder, "--set", f"data.train={self.shards}", "--set", f"data.val={other}"))
        self.assertRegex(done.err, "warning: the validation set .*1 new, as 'star/new.jpg'")
        self.assertEqual(hashes(folder), self.expected)


class HostileSources(RunTest):
    def refused(self, name, *fragments, identity="E211"):
        done = run("validate", self.recipe, "--set", f"data.train={self.folder / name}", "--set", "data.val=")
        self.assert_error(done, 65, identity, *fragments)

    def tar(self, name, members):
        folder = self.folder / name
        folder.mkdir()
        with tarfile.open(folder / "a.tar", "w") as tar:
            for member, contents in members:
                entry = tarfile.TarInfo(member)
                entry.size = len(contents)
                tar.addfile(entry, io.BytesIO(contents))
        return folder / "a.tar"

    MEMBERS = [("1.jpg", b"x" * 3000), ("1.cls", b"0"), ("2.jpg", b"y" * 3000), ("2.cls", b"1")]

    def test_tars(self):
        self.tar("outside", [("../1.jpg", b"x"), ("../1.cls", b"0")])
        self.refused("outside", "'../1.jpg' points out of the folder")
        cut = self.tar("cut", self.MEMBERS)
        os.truncate(cut, 6000)
        self.refused("cut", "cut short")
        damaged = self.tar("damaged", self.MEMBERS)
        contents = bytearray(damaged.read_bytes())
        contents[3584 + 20] ^= 1
        damaged.write_bytes(contents)
        self.refused("damaged", "damaged", "at byte 3584")
        self.tar("unlabelled", [("1.jpg", b"x")])
        self.refused("unlabelled", "'1.jpg' has no label")
        long = "n1/" + 200 * "long" + ".jpg"
        self.tar("sound", [*self.MEMBERS, (long, b"z"), (long.replace("n1", "n2"), b"z")])
        self.assertIn("larger than the 4 pictures",
                      run("validate", self.recipe, "--set", f"data.train={self.folder / 'sound'}", "--set",
                          "data.val=").err)

    def test_lists(self):
        text = self.folder / "list.csv"
        text.write_text("a.jpg,cat\nb.jpg\n")
        self.refused("list.csv", "no label", "list.csv:2:1", "b.jpg", identity="E209")
        text.write_text("a.jpg,cat\n,dog\n")
        self.refused("list.csv", "names no picture", "list.csv:2:1", identity="E209")
        text.write_text("\n")
        self.refused("list.csv", identity="E202")

    def test_a_packed_set_with_a_damaged_index_or_without_a_shard(self):
        shards = self.folder / "shards"
        self.ok(run("data", "pack", self.data / "train", shards, "--pictures", 64))
        os.truncate(shards / "shard-000002.tar", 5000)
        self.refused("shards", "shard-000002.tar", "cut short: 5000 bytes")
        (shards / "shard-000002.tar").unlink()
        self.refused("shards", "shard-000002.tar", "No such file")
        (shards / "index.safetensors").write_bytes(b"\x10" + bytes(30))
        self.refused("shards", "index.safetensors", identity="E206")


class UnreadablePictures(RunTest):
    """Damaged, empty, vanished, of other kinds: a fixed rule, each named once, counted, and an end past max_bad."""

    STEPS = 12

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.damaged = cls.folder / "damaged"
        shutil.copytree(cls.data / "train", cls.damaged)
        pictures = sorted(cls.damaged.glob("*/*.jpg"))
        cls.bad = [pictures[number] for number in (3, 4, 77, 150, 199)]
        cls.bad[0].write_bytes(cls.bad[0].read_bytes()[:300])
        cls.bad[1].write_bytes(b"")
        cls.bad[2].write_text("no picture at all")
        cls.bad[3].unlink()
        cls.bad[3].symlink_to("nowhere")
        cls.bad[4].unlink()
        os.mkfifo(cls.bad[4])  # whoever opens it waits for a writer
        cls.allowed = ("--set", f"data.train={cls.damaged}", "--set", "data.max_bad=0.025",
                       "--set", "evaluation.every=0", "--set", "schedule.epochs=1",
                       "--set", "augmentation.repeats=1")  # nearly all of the set is seen
        cls.reference = cls.folder / "reference"
        cls.metrics = cls.folder / "metrics"
        cls.metrics.mkdir()
        cls.done = run("train", cls.recipe, "--run", cls.reference, *cls.allowed, "--set", "monitoring.port=0", "--set",
                       f"monitoring.text_file={cls.metrics}", "--set", "monitoring.address=127.0.0.1")

    def test_each_is_named_once(self):
        self.ok(self.done)
        log = (self.reference / "log" / "rank-00000.log").read_text()
        for text in (self.done.err, log):
            named = re.findall(r"cannot read the picture '([^']+)'", text)
            self.assertEqual(len(named), len(set(named)), named)
            self.assertLessEqual(set(named), {str(path) for path in self.bad})
            self.assertGreaterEqual(len(named), 3)
        self.assertIn("the file is empty", self.done.err)
        text = (self.metrics / "lockstep-reference.prom").read_text()
        counted = dict(re.findall(r'^lockstep_unreadable_samples_total\{.*kind="(\w+)".*\} (\S+)', text, re.MULTILINE))
        self.assertEqual(set(counted), {"file", "picture"})  # not to be read, and damaged
        self.assertEqual(sum(map(float, counted.values())), len(named))

    def test_the_same_weights_in_every_world(self):
        for ranks in (2, 4):
            folder = self.folder / f"ranks-{ranks}"
            done = self.ok(run("train", self.recipe, "--run", folder, *self.allowed, "--set",
                               f"data.threads={ranks + 1}", ranks=ranks))
            self.assertEqual(hashes(folder), hashes(self.reference))
            self.assertEqual(sorted(re.findall(r"picture '([^']+)'", done.err)),
                             sorted(re.findall(r"picture '([^']+)'", self.done.err)))

    def test_the_same_weights_after_a_resume(self):
        folder = self.folder / "resumed"
        self.killed(("train", self.recipe, "--run", folder, *self.allowed), folder, 7)
        self.ok(run("resume", folder, ranks=4))
        self.assertEqual(hashes(folder), hashes(self.reference))

    def test_the_run_ends_past_max_bad(self):
        for ranks in (1, 2):
            folder = self.folder / f"too-many-{ranks}"
            done = run("train", self.recipe, "--run", folder, *self.allowed, "--set", "data.max_bad=0.01",
                       ranks=ranks)
            self.assert_error(done, 65, "E212", "of 200 pictures", "data.max_bad allows (2)")
        done = run("train", self.recipe, "--run", self.folder / "none", *self.allowed, "--set", "data.max_bad=0")
        self.assert_error(done, 65, "E205", str(self.damaged))

    def test_a_list_with_files_that_are_not_there(self):
        text = self.data / "train" / "list.txt"
        lines = [f"{path.relative_to(self.data / 'train')},{path.parent.name}"
                 for path in sorted((self.data / "train").glob("*/*.jpg"))]
        lines[5] = "absent.jpg,circle"
        text.write_text("\n".join(lines))
        self.addCleanup(text.unlink)
        done = self.ok(run("train", self.recipe, "--run", self.folder / "absent", *self.allowed, "--set",
                           f"data.train={text}"))
        named = re.findall(r"cannot read the picture '([^']+)': (.*);", done.err)
        self.assertEqual([os.path.basename(path) for path, _ in named], ["absent.jpg"])
        self.assertIn("no such file", named[0][1])

    def test_an_evaluation_counts_exactly(self):
        broken = self.folder / "broken-val"
        shutil.copytree(self.data / "val", broken)
        victim = sorted(broken.glob("*/*.jpg"))[9]
        victim.write_bytes(b"")
        done = run("eval", self.reference, "--set", f"data.val={broken}")
        self.assert_error(done, 65, "E205", str(victim), "empty")


if __name__ == "__main__":
    unittest.main()
