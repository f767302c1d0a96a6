"""What scripts/gpu_check.sh runs: pieces, each a list of steps.

A step is one command. `parse` says what its standard output is: "json" (one object, kept whole), "text" (its last lines are
kept), "tests" (a GoogleTest program's, of which one test at least must have run and passed) or "score" (kvfold score, whose
logits are then held against a fixture's).
"""

import dataclasses
import json
import os


@dataclasses.dataclass
class Step:
    name: str
    command: list
    parse: str = "json"
    limit_s: int = 240
    ranks: int = 0  # 0: started plainly, else by mpirun
    # Of a "score": the .npy that it writes, the .npy it is held against, and how far it may be off by `measure`: "largest"
    # difference of a logit, or "relative", |got - want| / |want| over all logits.
    logits: str = ""
    reference: str = ""
    measure: str = "largest"
    tolerance: float = 0.0
    needs: str = ""  # a program without which the step is left out, and says so
    unable: str = ""  # what a refusal (exit code 2) says where this machine cannot do it: the step is left out


@dataclasses.dataclass
class Shapes:
    """What a run measures; a rehearsal has the same steps with shapes for a CPU."""
    device: str
    model_8b: str
    model_70b: str
    short_tokens: str
    long_tokens: str
    chunks: str
    two_chunks: tuple  # of what is measured at fewer chunks
    pretend_ranks: int
    sdpa: list


REAL = Shapes(device="cuda", model_8b="llama-3.1-8b", model_70b="llama-3.1-70b", short_tokens="8192,32768", long_tokens="131072",
              chunks="256,512,1024,2048", two_chunks=("256", "1024"), pretend_ranks=8, sdpa=["8192", "32768", "131072"])


def rehearsal(root):
    tiny = os.path.join(root, "tests/fixtures/models/llama_gqa")
    return Shapes(device="cpu", model_8b=tiny, model_70b=tiny, short_tokens="64,96", long_tokens="192", chunks="16,32",
                  two_chunks=("16", "32"), pretend_ranks=2, sdpa=["64"])


F32_TOLERANCE = 1e-4  # docs/design.md, section 5


class Pieces:
    def __init__(self, root, kvfold, tests, work, shapes):
        self.root, self.kvfold, self.tests, self.work, self.shapes = root, kvfold, tests, work, shapes

    def all(self):
        return {"machine": self.machine, "conformance": self.conformance, "sanitizer": self.sanitizer, "exact": self.exact,
                "ranks": self.ranks, "bench_8b": self.bench_8b, "bench_8b_128k": self.bench_8b_128k,
                "bench_8b_128k_int8": self.bench_8b_128k_int8, "share_70b": self.share_70b, "baseline_sdpa": self.baseline_sdpa,
                "baseline_hf": self.baseline_hf}

    def test_program(self, name):
        return os.path.join(self.tests, name)

    def device(self):
        return ["--device", self.shapes.device]

    def machine(self):
        return [Step("info", [self.kvfold, "info", "--json"]),
                Step("gpu", ["nvidia-smi", "--query-gpu=name,uuid,memory.total,driver_version,clocks.sm,clocks.mem,power.limit,temperature.gpu",
                             "--format=csv"], parse="text", needs="nvidia-smi")]

    # What the sanitizer, a hundred times slower, gets through: every kernel once, with edges.
    SHORT_SUITES = ("LinearTest.Small", "AttentionTest.Short", "RopeTest.", "RowsTest.")

    def kernel_tests(self, short):
        """Without a GPU the program has the kernels emulated alone: of those the quickest."""
        wanted = ":".join(f"*{suite}*/gpu_*" for suite in self.SHORT_SUITES) if short else "*/gpu_*:GpuTest.*"
        if self.shapes.device == "cpu":
            wanted = "*LinearTest.Small*/cuda_emulated_f32"
        return [self.test_program("runtime/kernels/cuda/runtime_cuda_kernels_test"), f"--gtest_filter={wanted}"]

    def conformance(self):
        return [Step("kernels", self.kernel_tests(short=False), parse="tests", limit_s=360),
                Step("comm", [self.test_program("comm/comm_test"), "--gtest_filter=CudaBackend.*:Nccl*:Staged.*:*/StagedProperties.*"],
                     parse="tests", limit_s=110)]

    def sanitizer(self):
        return [Step(tool, ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", *self.kernel_tests(short=True)], parse="tests",
                     limit_s=220, needs="compute-sanitizer") for tool in ("memcheck", "racecheck")]

    def fixture(self, model, *path):
        return os.path.join(self.root, "tests/fixtures/models", model, *path)

    def bf16_tolerance(self, model):
        """How far transformers' own bf16 pass is from its float32 one, by the relative measure: no further may ours be."""
        with open(self.fixture(model, "reference/bf16.json")) as file:
            return json.load(file)["distance"]

    def score(self, name, model, *options, ranks=0, measure="largest", tolerance=F32_TOLERANCE):
        folder = self.fixture(model)
        checkpoint = self.fixture(model, "model.gguf") if model.endswith("_gguf") else folder
        logits = os.path.join(self.work, name.replace(" ", "_") + ".npy")
        command = [self.kvfold, "score", "--model", checkpoint, "--tokens", os.path.join(folder, "reference/tokens.json"),
                   "--logits", logits, "--json", *self.device(), *options]
        return Step(name, command, parse="score", limit_s=60, ranks=ranks, logits=logits, measure=measure, tolerance=tolerance,
                    reference=os.path.join(folder, "reference/logits.npy"))

    def exact(self):
        steps = []
        for model in sorted(os.listdir(self.fixture(""))):
            for chunk in ("7", "64"):
                steps.append(self.score(f"{model} f32 chunk {chunk}", model, "--dtype", "f32", "--chunk", chunk))
            steps.append(self.score(f"{model} bf16 chunk 64", model, "--dtype", "bf16", "--chunk", "64",
                                    measure="relative", tolerance=self.bf16_tolerance(model)))
        steps.append(self.score("llama_gqa f32 full", "llama_gqa", "--dtype", "f32", "--attention", "full"))
        return steps

    def ranks(self):
        """2 and 3 ranks on one GPU against one rank, staged and by NCCL."""
        steps = []
        for transport in ("staged", "nccl"):
            share = [] if self.shapes.device == "cpu" else ["--share-devices", "--transport", transport]
            for ranks in (2, 3):
                steps.append(self.score(f"llama_9_3 {ranks} ranks {transport}", "llama_9_3", "--dtype", "f32", "--chunk", "64",
                                        *share, ranks=ranks))
            for sums in ("auto", "f32"):
                steps.append(self.score(f"llama_9_3 bf16 2 ranks {transport} sums {sums}", "llama_9_3", "--dtype", "bf16", "--chunk", "64",
                                        "--allreduce-dtype", sums, *share, ranks=2, measure="relative",
                                        tolerance=self.bf16_tolerance("llama_9_3")))
        for step in steps:
            step.unable = "cannot put several ranks on one GPU"  # NCCL before 2.30
        return steps

    def bench(self, name, model, tokens, chunks, *options, repeats="3", limit_s=450):
        return Step(name, [self.kvfold, "bench", "--random-weights", model, "--tokens", tokens, "--chunk", chunks, "--repeats", repeats,
                           "--decode-tokens", "16", "--json", *self.device(), *options], limit_s=limit_s)

    def bench_8b(self):
        s = self.shapes
        return [self.bench("bf16", s.model_8b, s.short_tokens, s.chunks, limit_s=240),
                self.bench("int8", s.model_8b, s.short_tokens, s.chunks, "--kv-dtype", "int8", limit_s=240)]

    def bench_8b_128k(self):
        return [self.bench("bf16", self.shapes.model_8b, self.shapes.long_tokens, self.shapes.chunks, repeats="1")]

    def bench_8b_128k_int8(self):
        return [self.bench("int8", self.shapes.model_8b, self.shapes.long_tokens, self.shapes.chunks, "--kv-dtype", "int8",
                           repeats="1")]

    def share_70b(self):
        s = self.shapes
        return [self.bench("bf16", s.model_70b, s.long_tokens, ",".join(s.two_chunks), "--pretend-ranks", str(s.pretend_ranks), repeats="1")]

    def baseline_sdpa(self):
        return [Step("sdpa", ["python3", os.path.join(self.root, "scripts/baselines/sdpa.py"), "--device", self.shapes.device,
                              "--tokens", *self.shapes.sdpa, "--chunks", *self.shapes.chunks.split(",")], needs="python3:torch")]

    def baseline_hf(self):
        s = self.shapes
        return [Step(f"chunk {chunk}", ["python3", os.path.join(self.root, "scripts/baselines/hf_fold.py"), "--device", s.device,
                                        "--config", s.model_8b, "--tokens", s.long_tokens, "--chunk", chunk],
                     limit_s=220, needs="python3:transformers")
                for chunk in s.two_chunks]
