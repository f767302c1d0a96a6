"""A disk that fills up while results are written: one sentence, whole records, and the same command goes on."""

import json
import os
import subprocess
import unittest

from launcher_case import LLAMA, LauncherCase, kvfold, main, read_json

TOKENS = read_json(LLAMA, "reference", "tokens.json")
N_REQUESTS = 30


class DiskFull(LauncherCase):
    def setUp(self):
        super().setUp()
        self.disk = self.path("disk")
        os.mkdir(self.disk)
        if os.geteuid() != 0:
            self.skipTest("only root can mount a small disk")
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "kvfold_test", self.disk],
                                 capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            self.skipTest(f"no disk can be mounted here: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk], check=True)
        self.prompts = self.write_lines("in.jsonl", [
            {"id": f"r{i}", "tokens": TOKENS[i:i + 20], "max_new_tokens": 200} for i in range(N_REQUESTS)])

    def run_batch(self, output, ranks):
        return kvfold("run", "--model", LLAMA, "--dtype", "f32", "--prompts", self.prompts, "--output", output,
                      "--json", ranks=ranks)

    @staticmethod
    def results(path):
        with open(path, "rb") as file:
            text = file.read()
        assert text.endswith(b"\n"), text[-100:]
        records = [json.loads(line) for line in text.splitlines()]
        for record in records:
            del record["timings"]
        return records

    def grow(self):
        subprocess.run(["mount", "-o", "remount,size=4m", self.disk], check=True)

    def test_batch(self):
        for ranks in (None, 2):
            with self.subTest(ranks=ranks):
                subprocess.run(["mount", "-o", "remount,size=16k", self.disk], check=True)
                undisturbed = self.path(f"undisturbed{ranks}.jsonl")
                self.assert_done(self.run_batch(undisturbed, ranks))
                want = self.results(undisturbed)
                output = os.path.join(self.disk, "out.jsonl")
                for _ in range(2):  # the second finds it full at once
                    self.assert_refused(self.run_batch(output, ranks), output, "No space left", code=1)
                    kept = self.results(output)
                    self.assertTrue(0 < len(kept) < N_REQUESTS, len(kept))
                    self.assertEqual(kept, want[:len(kept)])
                self.grow()
                summary = self.assert_json(self.run_batch(output, ranks))
                self.assertEqual((summary["done"], summary["done_before"]), (N_REQUESTS - len(kept), len(kept)))
                self.assertEqual(self.results(output), want)
                os.remove(output)

    def test_logits(self):
        tokens = self.write("tokens.json", json.dumps(TOKENS[:100]))
        logits = os.path.join(self.disk, "logits.npy")
        arguments = ["score", "--model", LLAMA, "--dtype", "f32", "--tokens", tokens, "--logits", logits]
        self.assert_refused(kvfold(*arguments), logits, "No space left", code=1)
        self.assertEqual(os.listdir(self.disk), [])
        self.grow()
        self.assertEqual(kvfold(*arguments).code, 0)


if __name__ == "__main__":
    main()
