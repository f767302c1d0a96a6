"""Where kvfold runs, on a machine whose GPUs, if it has any, are hidden (launcher_case.environment)."""

import json
import os
import subprocess
import unittest

from launcher_case import KVFOLD, LLAMA, kvfold

TOKENS = os.path.join(LLAMA, "reference", "tokens.json")
SCORE = ("score", "--model", LLAMA, "--tokens", TOKENS, "--dtype", "f32", "--json")


class Device(unittest.TestCase):
    def assert_refused(self, done, *words):
        self.assertEqual(done.code, 2, done)
        self.assertEqual(done.stdout, "", done)
        self.assertEqual(len(done.sentences), 1, done)
        for word in words:
            self.assertIn(word, done.sentences[0])

    def test_auto_folds_on_the_cpu(self):
        auto = kvfold(*SCORE, "--device", "auto")
        self.assertEqual(auto.code, 0, auto)
        cpu = kvfold(*SCORE, "--device", "cpu")
        self.assertEqual(json.loads(auto.stdout)["nll"], json.loads(cpu.stdout)["nll"])
        self.assertEqual(json.loads(auto.stdout)["device"], "cpu")
        self.assertEqual(json.loads(auto.stdout)["transport"], "local")

    def test_the_transport_stands_in_the_result(self):
        done = kvfold(*SCORE, ranks=2)
        self.assertEqual(done.code, 0, done)
        self.assertEqual(json.loads(done.stdout)["transport"], "mpi")

    def test_cuda_says_what_is_missing(self):
        for ranks in (None, 2):
            self.assert_refused(kvfold(*SCORE, "--device", "cuda", ranks=ranks), "--device cuda: ", "--device cpu")

    def test_transports_are_for_gpus(self):
        for transport in ("nccl", "staged"):
            self.assert_refused(kvfold(*SCORE, "--transport", transport), "--transport " + transport, "CPU")

    def test_info_says_why_there_is_no_gpu(self):
        done = kvfold("info", "--json")
        self.assertEqual(done.code, 0, done)
        info = json.loads(done.stdout)
        self.assertEqual([device["kind"] for device in info["devices"]], ["cpu"])
        if info["cuda"] is None:
            self.assertIsNone(info["nccl"])
        else:
            self.assertTrue(info["cuda"]["problem"])
            self.assertTrue(info["cuda"]["toolkit"])
        text = kvfold("info")
        self.assertEqual(text.code, 0, text)
        self.assertIn("\ncuda ", text.stdout)
        self.assertIn("\nnccl ", text.stdout)

    def test_starting_opens_no_gpu_library(self):
        """What a plain start maps: neither the driver nor CUDA's large libraries."""
        needed = subprocess.run(["ldd", KVFOLD], capture_output=True, text=True).stdout
        self.assertIn("libmpi", needed)
        for library in ("libcuda.so", "libcudart", "libcublas", "libnccl"):
            self.assertNotIn(library, needed)


if __name__ == "__main__":
    unittest.main()
