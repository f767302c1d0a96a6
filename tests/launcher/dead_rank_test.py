"""Ranks that are killed, stopped, stuck or out of memory: the job ends everywhere, says why, and loses nothing.

The places are drawn from a seed, which KVFOLD_TEST_SEED changes.
"""

import os
import random
import shutil
import signal
import socket
import sys
import time

from launcher_case import KVFOLD, LLAMA, MPIRUN, LauncherCase, long, main, read_json

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "lib"))
from chaos_job import Job, count_records, read_records  # noqa: E402

TOKENS = read_json(LLAMA, "reference", "tokens.json")
LAYERS = read_json(LLAMA, "config.json")["num_hidden_layers"]
SEED = int(os.environ.get("KVFOLD_TEST_SEED", "1"))
GONE_S = 10.0  # what is promised
START_S = 20.0  # what a start may take on a machine that is busy with other things
STEP_TIMEOUT_S = 2


class DeadRank(LauncherCase):
    def setUp(self):
        super().setUp()
        self.random = random.Random(f"{SEED} {self.id()}")
        self.output = self.path("out.jsonl")
        self.use_requests(6)

    def use_requests(self, n):
        self.ids = [f"r{i}" for i in range(n)]
        self.prompts = self.write_lines("in.jsonl", [
            {"id": id, "tokens": TOKENS[i % 40:i % 40 + 12 + i % 7], "max_new_tokens": 2} for i, id in enumerate(self.ids)])

    def start(self, ranks, *arguments, fault=None, model=LLAMA):
        return Job(MPIRUN, KVFOLD, ranks,
                   ["run", "--model", model, "--dtype", "f32", "--chunk", 8, "--threads", 1, "--prompts", self.prompts,
                    "--output", self.output, *arguments], self.folder, fault)

    def assert_verdict(self, job, rank, cause, within_s, step=None, layer=None):
        self.assertTrue(job.wait(within_s + START_S), f"{job.command} hung\n{job.stderr}")
        trouble = f"seed {SEED}: {' '.join(job.command)}\nexit {job.code}\n{job.stderr}"
        self.assertNotEqual(job.code, 0, trouble)
        self.assertEqual(len(job.sentences), 1, trouble)
        self.assertIsNotNone(job.verdict, trouble)
        self.assertEqual(int(job.verdict["rank"]), rank, trouble)
        self.assertEqual(job.verdict["host"], socket.gethostname(), trouble)
        self.assertIn(cause, job.verdict["cause"], trouble)
        if step is not None:
            self.assertEqual(int(job.verdict["step"]), step, trouble)
        if layer is not None:
            self.assertEqual(int(job.verdict["layer"]), layer, trouble)

    def assert_resumed(self, ranks):
        job = self.start(ranks)
        self.assertTrue(job.wait(60), job.stderr)
        self.assertEqual((job.code, job.sentences), (0, []), job.stderr)
        _, order = read_records(self.output)
        self.assertEqual(sorted(order), sorted(self.ids), f"seed {SEED}")

    def check_hook(self, kind, ranks, rank, cause, within_s, *arguments):
        step, layer = self.random.randint(1, 20), self.random.randrange(LAYERS)
        with self.subTest(kind=kind, ranks=ranks, rank=rank, step=step, layer=layer):
            if os.path.exists(self.output):
                os.remove(self.output)
            job = self.start(ranks, *arguments, fault=f"rank={rank},step={step},layer={layer},do={kind}")
            self.assert_verdict(job, rank, cause, within_s, step, layer)
            self.assert_resumed(ranks)

    def test_killed(self):
        for ranks in (2, 3, 4):
            self.check_hook("kill", ranks, self.random.randrange(ranks), "killed", GONE_S)
        self.check_hook("kill", 2, 0, "killed", GONE_S)

    @long
    def test_stopped(self):
        ranks = self.random.choice((3, 4))
        self.check_hook("stop", ranks, self.random.randrange(1, ranks), "silent for 5 s", GONE_S)
        self.check_hook("stop", 2, 0, "silent for 5 s", GONE_S)

    def test_stuck(self):
        ranks = self.random.choice((2, 4))
        for n, rank in ((ranks, self.random.randrange(1, ranks)), (3, 0)):
            self.check_hook("sleep", n, rank, f"no progress for {STEP_TIMEOUT_S} s", STEP_TIMEOUT_S + GONE_S,
                            "--step-timeout", STEP_TIMEOUT_S)

    @long
    def test_exception_on_one_rank(self):
        for ranks in (2, 3, 4):
            self.check_hook("throw", ranks, self.random.randrange(ranks), "told to fail", GONE_S)
        self.check_hook("throw", 3, 0, "told to fail", GONE_S)
        self.check_hook("alloc", 2, 1, "out of memory", GONE_S)

    def test_while_loading(self):
        # The kernel's killer of processes that want too much memory is a SIGKILL as well.
        for kind, ranks, cause, code in (("alloc", 2, "out of memory", 3), ("alloc", 4, "out of memory", 3),
                                         ("kill", 3, "killed", None), ("throw", 2, "", None)):
            rank, tensor = self.random.randrange(ranks), self.random.randint(1, 4 * LAYERS)
            with self.subTest(kind=kind, ranks=ranks, rank=rank, tensor=tensor):
                job = self.start(ranks, fault=f"rank={rank},tensor={tensor},do={kind}")
                if kind == "throw":
                    self.assertTrue(job.wait(GONE_S + START_S), job.stderr)
                    self.assertEqual(job.code, 1, job.stderr)
                    self.assertEqual(len(job.sentences), 1, job.stderr)
                    self.assertIn(f"rank {rank}: this rank was told to fail", job.sentences[0])
                    continue
                self.assert_verdict(job, rank, cause, GONE_S, step=0)
                if code is not None:
                    self.assertEqual(job.code, code, job.stderr)
        self.assert_resumed(2)

    def hurt_when_under_way(self, job, rank, number):
        """When a record is there, at a random moment of the next ones. Every layer takes 0.2 s (do=slow)."""
        deadline = time.monotonic() + 60
        while count_records(self.output) == 0:
            self.assertLess(time.monotonic(), deadline, job.stderr)
            self.assertIsNone(job.process.poll(), job.stderr)
            time.sleep(0.02)
        time.sleep(self.random.uniform(0, 1.5))
        self.assertTrue(job.signal_rank(rank, number), job.stderr)
        return time.monotonic()

    @long
    def test_killed_and_stopped_from_outside(self):
        for number, cause in ((signal.SIGKILL, "killed"), (signal.SIGSTOP, "silent")):
            ranks = self.random.choice((2, 3, 4))
            rank = self.random.randrange(ranks)
            with self.subTest(signal=number, ranks=ranks, rank=rank):
                job = self.start(ranks, fault="rank=0,step=1,layer=0,do=slow")
                hurt = self.hurt_when_under_way(job, rank, number)
                self.assert_verdict(job, rank, cause, GONE_S)
                self.assertLess(job.ended - hurt, GONE_S + START_S)
                self.assert_resumed(ranks)
                os.remove(self.output)

    def test_forty_requests_and_a_killed_rank(self):
        self.use_requests(40)
        job = self.start(2, fault="rank=0,step=6,layer=0,do=slow")
        self.hurt_when_under_way(job, 1, signal.SIGKILL)
        self.assert_verdict(job, 1, "killed", GONE_S)
        done = count_records(self.output)
        self.assertGreater(done, 0)
        self.assertLess(done, 40)
        self.assert_resumed(2)
        print(f"    {done} of 40 records when rank 1 was killed, 40 after the second start")

    def test_a_model_cut_short_while_it_is_read(self):
        model = self.path("model")
        shutil.copytree(LLAMA, model)
        job = self.start(2, fault="rank=0,step=6,layer=0,do=slow", model=model)
        while count_records(self.output) == 0 and job.process.poll() is None:
            time.sleep(0.02)
        os.truncate(os.path.join(model, "model.safetensors"), 0)
        self.assertTrue(job.wait(GONE_S + START_S), job.stderr)
        self.assertNotEqual(job.code, 0, job.stderr)
        self.assertIn("model.safetensors: cannot be read any more", "".join(job.sentences), job.stderr)
        self.assert_resumed(2)

    @long
    def test_slow_rank_is_left_alone(self):
        self.use_requests(3)
        job = self.start(3, "--step-timeout", STEP_TIMEOUT_S, fault="rank=1,step=1,layer=0,do=slow")
        self.assertTrue(job.wait(120), job.stderr)
        self.assertEqual((job.code, job.sentences), (0, []), job.stderr)
        self.assertGreater(job.ended - job.began, STEP_TIMEOUT_S)
        self.assertEqual(count_records(self.output), 3)

    @long
    def test_asked_to_stop_is_no_death(self):
        job = self.start(3, fault="rank=2,step=1,layer=0,do=slow")
        time.sleep(1.0)
        self.hurt_when_under_way(job, 0, signal.SIGUSR1)
        self.assertTrue(job.wait(60), job.stderr)
        self.assertEqual(job.code, 4, job.stderr)
        self.assertIsNone(job.verdict, job.stderr)
        self.assert_resumed(3)

    @long
    def test_a_fault_that_cannot_be_read(self):
        for fault in ("rank=1", "rank=2,step=1,layer=0,do=kill"):
            job = self.start(2, fault=fault)
            self.assertTrue(job.wait(START_S), job.stderr)
            self.assertEqual((job.code, len(job.sentences)), (2, 1), job.stderr)
            self.assertIn("KVFOLD_FAULT", job.sentences[0])


if __name__ == "__main__":
    main()
