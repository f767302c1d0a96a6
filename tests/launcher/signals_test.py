"""SIGTERM, SIGINT, SIGUSR1 and SIGKILL at random moments: what is done is whole, the same command goes on."""

import json
import os
import random
import signal
import subprocess
import time

from byte_model import byte_model
from launcher_case import (KVFOLD, LLAMA, MPI_ARGUMENTS, MPIRUN, LauncherCase, Result, environment, kvfold, long, main,
                           read_json)

TOKENS = read_json(LLAMA, "reference", "tokens.json")
SEED = int(os.environ.get("KVFOLD_TEST_SEED", "1"))
N_REQUESTS = 40


class Running:
    """kvfold in the background, plainly or under mpirun, its standard error in a file."""

    def __init__(self, case, arguments, ranks):
        mpi = [] if ranks is None else [MPIRUN, "-n", str(ranks), *MPI_ARGUMENTS]
        self.stderr_path = case.path("stderr.txt")
        self.begin = time.monotonic()
        with open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen([*mpi, KVFOLD, *map(str, arguments)], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment(),
                                            start_new_session=True)
        case.addCleanup(self.kill_all)

    def kill_all(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()

    def stderr(self):
        with open(self.stderr_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_until(self, condition, what):
        deadline = time.monotonic() + 60
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come; exit {self.process.poll()}\n{self.stderr()}")
            time.sleep(0.001)

    def finish(self, timeout_s=60):
        stdout, _ = self.process.communicate(timeout=timeout_s)
        return Result(self.process.returncode, stdout, self.stderr(), time.monotonic() - self.begin)

    def pid_of_rank(self, rank):
        """Of the process that mpirun started as this rank."""
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
                if parent != self.process.pid:
                    continue
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if f"OMPI_COMM_WORLD_RANK={rank}".encode() in file.read().split(b"\0"):
                        return int(entry)
            except (OSError, ValueError):
                pass
        raise AssertionError(f"no rank {rank}")


class Signals(LauncherCase):
    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.output = self.path("out.jsonl")
        self.prompts = self.write_lines("in.jsonl", [
            {"id": f"r{i}", "tokens": TOKENS[i:i + 30 + 5 * i], "max_new_tokens": 120, "temperature": 1.0, "seed": i}
            for i in range(N_REQUESTS)])

    def arguments(self, *more, prompts=None):
        return ["run", "--model", LLAMA, "--dtype", "f32", "--chunk", 16, "--threads", 1, "--prompts",
                prompts or self.prompts, "--output", self.output, *more]

    def results(self):
        """What is in the output, timings apart; every line whole and no id twice."""
        with open(self.output, "rb") as file:
            text = file.read()
        self.assertTrue(text == b"" or text.endswith(b"\n"), text[-100:])
        records = [json.loads(line) for line in text.splitlines()]
        results = {record.pop("id"): record for record in records}
        self.assertEqual(len(results), len(records))
        for record in results.values():
            del record["timings"]
        return results

    def undisturbed(self, ranks):
        self.output = self.path(f"undisturbed{ranks}.jsonl")
        self.assert_done(kvfold(*self.arguments(), ranks=ranks))
        results = self.results()
        self.assertEqual(len(results), N_REQUESTS)
        self.output = self.path("out.jsonl")
        return results

    def n_lines(self):
        try:
            with open(self.output, "rb") as file:
                return file.read().count(b"\n")
        except OSError:
            return 0

    def start_until(self, n_records, *more, ranks=None):
        running = Running(self, self.arguments(*more), ranks)
        running.wait_until(lambda: self.n_lines() >= n_records, f"record {n_records}")
        time.sleep(self.random.uniform(0, 0.02))
        return running

    def assert_stopped(self, result, name, n_before, code=4):
        self.assertEqual(result.code, code, str(result))
        n_done = self.n_lines()
        self.assertGreaterEqual(n_done, n_before)
        self.assertEqual(result.sentences, [f"stopped by {name}: {n_done} of {N_REQUESTS} requests are done; "
                                            "the same command goes on"], str(result))
        self.assertEqual(result.stdout, "", str(result))

    def go_on(self, want, ranks, *more):
        before = self.n_lines()
        result = kvfold(*self.arguments("--json", *more), ranks=ranks)
        summary = self.assert_json(result)
        self.assertEqual(summary["done"] + summary["done_before"], N_REQUESTS)
        self.assertLessEqual(summary["done_before"], before)
        self.assertEqual(self.results(), want)

    def test_alone(self):
        want = self.undisturbed(None)
        for stop in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            for more in ([], ["--concurrency", 4]):
                with self.subTest(signal=stop.name, more=more):
                    if os.path.exists(self.output):
                        os.remove(self.output)
                    n_before = self.random.randrange(1, N_REQUESTS // 2)
                    running = self.start_until(n_before, *more)
                    running.process.send_signal(stop)
                    self.assert_stopped(running.finish(), stop.name, n_before)
                    self.assertTrue(self.results().items() <= want.items())
                    self.go_on(want, None, *more)

    def test_under_mpirun(self):
        for ranks in (2, 3):
            with self.subTest(ranks=ranks):
                want = self.undisturbed(ranks)
                if os.path.exists(self.output):
                    os.remove(self.output)
                n_before = self.random.randrange(1, N_REQUESTS // 2)
                running = self.start_until(n_before, ranks=ranks)
                running.process.send_signal(signal.SIGUSR1)
                self.assert_stopped(running.finish(), "SIGUSR1", n_before)
                self.assertTrue(self.results().items() <= want.items())
                self.go_on(want, ranks)

    @long
    def test_mpirun_that_is_told_to_end(self):
        """mpirun then kills what is left after a second, and has an exit code of its own."""
        want = self.undisturbed(2)
        for stop in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=stop.name):
                if os.path.exists(self.output):
                    os.remove(self.output)
                running = self.start_until(self.random.randrange(1, N_REQUESTS // 2), ranks=2)
                running.process.send_signal(stop)
                self.assertNotEqual(running.finish().code, 0)
                self.go_on(want, 2)

    @long
    def test_killed_rank(self):
        for ranks in (2, 3):
            want = self.undisturbed(ranks)
            for killed in range(ranks):
                with self.subTest(ranks=ranks, killed=killed):
                    if os.path.exists(self.output):
                        os.remove(self.output)
                    running = self.start_until(self.random.randrange(1, N_REQUESTS // 2), ranks=ranks)
                    os.kill(running.pid_of_rank(killed), signal.SIGKILL)
                    self.assertNotEqual(running.finish().code, 0)
                    self.go_on(want, ranks)

    def test_killed_alone_again_and_again(self):
        want = self.undisturbed(None)
        for n_records in (0, 7, 15, 30):
            running = self.start_until(n_records)
            running.process.kill()
            self.assertEqual(running.finish().code, -signal.SIGKILL)
        self.go_on(want, None)

    def test_during_loading(self):
        """The prompts would come through a pipe: the signal is there before anything is loaded."""
        for ranks in (None, 2):
            with self.subTest(ranks=ranks):
                pipe = self.path(f"pipe{ranks}")
                os.mkfifo(pipe)
                running = Running(self, self.arguments(prompts=pipe), ranks)
                with open(pipe, "w", encoding="utf-8"):
                    running.process.send_signal(signal.SIGUSR1)  # rank 0 is reading: all have their handlers
                    result = running.finish()  # without waiting for what is never written
                self.assertEqual(result.code, 4, str(result))
                self.assertEqual(result.sentences, ["stopped by SIGUSR1: nothing was begun; the same command goes on"])
                self.assertNotIn("weights loaded", result.stderr)
                self.assertEqual(self.results(), {})

    def test_one_prompt(self):
        running = Running(self, ["run", "--model", byte_model(self.folder, ends=False), "--dtype", "f32", "--threads", 1,
                                 "--max-new-tokens", 200000, "--prompt", "Hello"], None)
        running.wait_until(lambda: "folding: chunk 1 of 1" in running.stderr(), "the fold")
        running.process.send_signal(signal.SIGTERM)
        result = running.finish()
        self.assertEqual(result.code, 4, str(result))
        self.assertEqual(result.sentences,
                         ["stopped by SIGTERM: the answer was not finished; the same command begins it again"])

    def test_score(self):
        tokens = self.write("tokens.json", json.dumps(TOKENS * 20))
        for ranks in (None, 2):
            with self.subTest(ranks=ranks):
                running = Running(self, ["score", "--model", LLAMA, "--dtype", "f32", "--chunk", 1, "--tokens", tokens,
                                         "--logits", self.path("logits.npy")], ranks)
                running.wait_until(lambda: "scoring: chunk" in running.stderr(), "the first chunk")
                running.process.send_signal(signal.SIGUSR1)
                result = running.finish()
                self.assertEqual(result.code, 4, str(result))
                self.assertEqual(result.sentences,
                                 ["stopped by SIGUSR1: the text was not scored; the same command begins again"])
                self.assertEqual(result.stdout, "")
                self.assertFalse([name for name in os.listdir(self.folder) if name.startswith("logits")])

    def test_bench(self):
        for ranks in (None, 2):
            with self.subTest(ranks=ranks):
                running = Running(self, ["bench", "--model", LLAMA, "--dtype", "f32", "--tokens", 512, "--repeats", 1000,
                                         "--json"], ranks)
                running.wait_until(lambda: "weights loaded" in running.stderr(), "the model")
                running.process.send_signal(signal.SIGUSR1)
                result = running.finish()
                self.assertEqual(result.code, 4, str(result))
                self.assertEqual(len(result.sentences), 1, str(result))
                self.assertIn("stopped by SIGUSR1", result.sentences[0])
                self.assertEqual(result.stdout, "")


if __name__ == "__main__":
    main()
