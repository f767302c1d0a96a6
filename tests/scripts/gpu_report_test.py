"""The GPU check's rehearsal, and the page made of its raw files: nothing there that was not measured."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv.pop(1))
REPORT = [sys.executable, "-B", str(ROOT / "scripts/gpu_report.py")]


def run(**changes):
    made = {"tokens": 131072, "chunk": 256, "ranks": 1, "pretended": False, "fold_s": 28.5, "tokens_per_s": 4599.0,
            "decode_tokens_per_s": 100.0, "linear": {"gflops": 650e3, "ceiling_gflops": 760e3, "fraction": 0.855},
            "attention": {"gflops": 400e3, "ceiling_gflops": 760e3, "fraction": 0.526}, "decode": {"fraction": 0.62},
            "planned_bytes": [33e9], "peak_bytes": [34e9]}
    return {**made, **changes}


class Page(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.raw = pathlib.Path(folder.name) / "raw"
        self.raw.mkdir()
        self.out = pathlib.Path(folder.name) / "gpu.md"

    def piece(self, name, *steps, **more):
        content = {"commit": "abc", "rehearsal": False, "piece": name, "date": "2026-01-02T03:04:05+00:00", "steps": list(steps), **more}
        (self.raw / f"{name}.json").write_text(json.dumps(content))

    def report(self, *options):
        return subprocess.run([*REPORT, "--raw", self.raw, "--out", self.out, *options], capture_output=True, text=True, timeout=60)

    def test_says_what_is_owed(self):
        self.assertEqual(self.report().returncode, 0)
        self.assertIn("Nothing has been measured yet", self.out.read_text())
        self.piece("bench_8b_128k", {"name": "bf16", "seconds": 1, "result": run()})
        self.report()
        self.assertIn("Still owed: machine, conformance", self.out.read_text())

    def test_a_fold_stands_beside_its_aim(self):
        self.piece("bench_8b_128k", {"name": "bf16", "result": {"runs": [run(), run(chunk=512)]}})
        self.report()
        self.assertIn("| bf16 | 131072 | 256 | 28.50 | 30 | 4599 | 650 (0.85) | 400 (0.53) | 760 | 10.00 (0.62) | 34.0 | 34.0 |", self.out.read_text())
        self.assertIn("| bf16 | 131072 | 512 | 28.50 |  |", self.out.read_text())

    def test_a_gpus_memory_stands_before_the_hosts(self):
        self.piece("bench_8b_128k", {"name": "bf16", "result": run(device_peak_bytes=[35.04e9, 20e9], device_reserved_bytes=[1.5e9, 0.5e9])})
        self.report()
        self.assertIn("| 10.00 (0.62) | 35.0 | 33.5 |", self.out.read_text())

    def test_a_failed_step_is_told(self):
        self.piece("exact", {"name": "llama f32", "measure": "largest", "difference": 0.5, "tolerance": 1e-4, "failed": "logits differ"},
                   {"name": "other", "left_out": "no such thing here"})
        self.report()
        self.assertIn("| llama f32 | largest | 0.5 | 0.0001 | **failed**: logits differ |", self.out.read_text())
        self.assertIn("left out: no such thing here", self.out.read_text())

    def test_the_papers_loop_stands_beside_ours(self):
        self.piece("bench_8b_128k", {"name": "bf16", "result": run()})
        self.piece("baseline_hf", {"name": "chunk 256", "result": {"tokens": 131072, "chunk": 256, "fold_s": 57.0, "peak_bytes": 36e9}})
        self.report()
        self.assertIn("| 131072 | 256 | 57.0 | 28.5 | 2.00 | 36.0 |", self.out.read_text())

    def test_refuses_a_rehearsal(self):
        self.piece("bench_8b", rehearsal=True)
        result = self.report()
        self.assertEqual(result.returncode, 1)
        self.assertIn("rehearsal", result.stderr)
        self.assertFalse(self.out.exists())

    def test_check_finds_another_page(self):
        self.report()
        self.assertEqual(self.report("--check").returncode, 0)
        self.out.write_text(self.out.read_text() + "128K tokens in 1 s\n")
        self.assertEqual(self.report("--check").returncode, 1)

    def test_the_committed_page_is_what_its_raw_files_say(self):
        done = subprocess.run([*REPORT, "--check"], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Check(unittest.TestCase):
    def check(self, *arguments):
        # Open MPI keeps what its plugins took, which are unloaded before it could be told whose it is.
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
        return subprocess.run([ROOT / "scripts/gpu_check.sh", *arguments], capture_output=True, text=True, timeout=100, env=environment)

    def test_rehearsal_of_the_quick_pieces(self):
        info = subprocess.run([BUILD / "launcher/kvfold", "info"], capture_output=True, text=True, timeout=60)
        if "_bf16" not in info.stdout:
            self.skipTest("the pieces are in bf16, which this processor does not multiply")
        with tempfile.TemporaryDirectory() as out:
            built = (BUILD / "tests/runtime/kernels/cuda/runtime_cuda_kernels_test").exists() and (BUILD / "tests/comm/comm_test").exists()
            result = self.check("--rehearse", "--out", out, "--kvfold", BUILD / "launcher/kvfold", "--tests", BUILD / "tests",
                                "machine", "exact", "ranks", "share_70b", *(["conformance"] if built else []))
            self.assertEqual(result.returncode, 0, result.stderr)
            exact = json.loads((pathlib.Path(out) / "exact.json").read_text())
            self.assertTrue(exact["rehearsal"])
            self.assertIn("nvidia_smi", exact)
            self.assertIn("nccl", exact)
            self.assertTrue(all(step["difference"] <= step["tolerance"] for step in exact["steps"]))
            share = json.loads((pathlib.Path(out) / "share_70b.json").read_text())
            self.assertTrue(all(one["pretended"] for one in share["steps"][0]["result"]["runs"]), share)

    def test_a_missing_executable_is_a_failed_start(self):
        result = self.check("--rehearse", "--out", "/nonexistent", "--kvfold", "/nonexistent/kvfold")
        self.assertEqual(result.returncode, 2)
        self.assertIn("no executable /nonexistent/kvfold", result.stderr)

    def test_an_unknown_piece_is_named(self):
        result = self.check("--list", "bench_9b")
        self.assertEqual(result.returncode, 2)
        self.assertIn("no piece 'bench_9b'", result.stderr)

    def test_lists_commands_of_a_gpu(self):
        result = self.check("--list", "bench_8b_128k")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("--random-weights llama-3.1-8b --tokens 131072", result.stdout)
        self.assertIn("--device cuda", result.stdout)

    def test_names_real_tests(self):
        """Every suite and every implementation that a filter names is one of the programs'."""
        sys.path.insert(0, str(ROOT / "scripts/lib"))
        from gpu_pieces import REAL, Pieces
        pieces = Pieces(str(ROOT), "kvfold", str(BUILD / "tests"), "/nonexistent", REAL)
        kernels, comm = pieces.conformance()
        memcheck = pieces.sanitizer()[0]
        for step in kernels, comm, memcheck:
            program = next(word for word in step.command if word.endswith("_test"))
            self.assertTrue((ROOT / "tests" / pathlib.Path(program).relative_to(BUILD / "tests")).parent.is_dir(), program)
            if not pathlib.Path(program).exists():
                continue  # of another target
            for pattern in step.command[-1].partition("=")[2].split(":"):
                # No GPU need be here: what runs on one runs emulated as well.
                listed = subprocess.run([program, "--gtest_list_tests", "--gtest_filter=" + pattern.replace("/gpu_", "/cuda_emulated_")],
                                        capture_output=True, text=True, timeout=60).stdout
                without_cuda = pattern.startswith("Nccl") and "Nccl" not in listed  # a build without CUDA has none of them
                self.assertTrue(without_cuda or "\n  " in listed, f"{pattern} names no test of {program}")

    def test_where_no_test_ran_nothing_held(self):
        sys.path.insert(0, str(ROOT / "scripts/lib"))
        import gpu_check
        from gpu_pieces import Step
        for said, held in (("[  PASSED  ] 2 tests.", True), ("[  PASSED  ] 12 tests.", True), ("[  PASSED  ] 0 tests.", False), ("", False)):
            record = gpu_check.run_step(Step("kernels", ["echo", said], parse="tests"), [], 10)
            self.assertEqual("failed" not in record, held, said)

    def test_what_a_machine_cannot_do_is_left_out(self):
        sys.path.insert(0, str(ROOT / "scripts/lib"))
        import gpu_check
        from gpu_pieces import Step
        refuse = ["sh", "-c", "echo kvfold: NCCL 2.28.3 cannot share >&2; echo mpirun ended >&2; exit 2"]
        self.assertEqual(gpu_check.run_step(Step("nccl", refuse, unable="cannot share"), [], 10)["left_out"], "kvfold: NCCL 2.28.3 cannot share")
        self.assertIn("failed", gpu_check.run_step(Step("nccl", refuse, unable="other"), [], 10))
        self.assertIn("failed", gpu_check.run_step(Step("nccl", refuse), [], 10))

    def test_nan_is_no_small_difference(self):
        import array
        sys.path.insert(0, str(ROOT / "scripts/lib"))
        spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "scripts/lib/gpu_check.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with tempfile.TemporaryDirectory() as folder:
            def npy(name, values):
                path = pathlib.Path(folder) / name
                path.write_bytes(b"\x93NUMPY\x01\x00" + (6).to_bytes(2, "little") + b"header" + array.array("f", values).tobytes())
                return path
            want = npy("want", [1.0, 2.0])
            self.assertEqual(module.difference(npy("same", [1.0, 2.0]), want, "largest"), 0)
            self.assertEqual(module.difference(npy("sign", [1.0, -2.0]), want, "largest"), 4)
            for measure in ("largest", "relative"):
                for values in ([float("nan"), 2.0], [1.0, float("nan")]):
                    self.assertEqual(module.difference(npy("nan", values), want, measure), float("inf"))
            with self.assertRaises(ValueError):
                module.difference(npy("short", [1.0]), want, "largest")


if __name__ == "__main__":
    unittest.main()
