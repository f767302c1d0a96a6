"""plan, tokenize and info: no MPI, no weights."""

import json
import os
import shutil
import unittest

from launcher_case import LLAMA, LauncherCase, kvfold, main, with_mounts

GIB = 1 << 30
LARGE = ["plan", "--model", "llama-3.1-70b", "--device-memory", "40GiB", "--tokens", 131072]
RANK_KEYS = {"rank", "query_heads", "kv_heads", "weights_bytes", "cache_bytes", "workspace_bytes", "reserved_bytes",
             "total_bytes"}


class Plan(LauncherCase):
    def test_an_empty_memory_is_not_this_machines(self):
        # As an unset shell variable leaves it.
        self.assert_refused(kvfold("plan", "--model", "llama-3.1-8b", "--device-memory", ""), "--device-memory", "40GiB")

    def test_large_model_fits_on_eight(self):
        result = kvfold(*LARGE, "--ranks", 8)
        self.assert_done(result)
        self.assertIn("fits", result.stdout)
        self.assertEqual(result.stderr, "")

    def test_large_model_does_not_fit_on_four(self):
        result = kvfold(*LARGE, "--ranks", 4)
        self.assertEqual(result.code, 3, str(result))
        self.assertRegex(result.stdout, r"does not fit: it would on \d ranks; with 4 ranks, up to \d+ tokens would")

    def test_what_it_names_instead_fits_and_is_the_edge(self):
        refused = kvfold(*LARGE, "--ranks", 4, "--json")
        self.assertEqual(refused.code, 3, str(refused))
        plan = self.assert_json(refused)
        self.assertFalse(plan["fits"])
        smallest, largest = plan["smallest_ranks"], plan["largest_tokens"]
        self.assertEqual(kvfold(*LARGE, "--ranks", smallest).code, 0)
        self.assertEqual(kvfold(*LARGE, "--ranks", smallest - 1).code, 3)
        self.assertEqual(kvfold(*LARGE[:-1], largest, "--ranks", 4).code, 0)
        self.assertEqual(kvfold(*LARGE[:-1], largest + 1, "--ranks", 4).code, 3)

    def test_json_keys_and_sums(self):
        result = kvfold(*LARGE, "--ranks", 8, "--json")
        self.assert_done(result)
        plan = self.assert_json(result)
        self.assertLessEqual({"fits", "ranks", "per_rank", "smallest_ranks", "largest_tokens"}, set(plan))
        self.assertTrue(plan["fits"])
        self.assertEqual(plan["ranks"], 8)
        self.assertEqual([rank["rank"] for rank in plan["per_rank"]], list(range(8)))
        for rank in plan["per_rank"]:
            self.assertLessEqual(RANK_KEYS, set(rank))
            parts = [rank[f"{part}_bytes"] for part in ("weights", "cache", "workspace", "reserved")]
            self.assertEqual(rank["total_bytes"], sum(parts))
            self.assertLessEqual(rank["total_bytes"], 40 * GIB)
            self.assertEqual((rank["query_heads"], rank["kv_heads"]), (8, 1))
            # 80 layers, keys and values of one head of 128, bf16, 131072 positions.
            self.assertEqual(rank["cache_bytes"], 80 * 2 * 128 * 2 * 131072)
            # 1.5 GiB of CUDA, and the kernels' own: a workspace of products and room to try them, tables of batches,
            # positions, frequencies, a target and three statistics of rows of logits, the largest of parts of rows.
            own = ((32 + 24) << 20) + 4 * (4 << 20) + 32768 * 8 + 4096 * 4 + 1024 * (8 + 3 * 4) + 256 * 64 * 8
            self.assertEqual(rank["reserved_bytes"], (3 << 29) + own)

    def test_sums_in_f32_take_another_two_bytes(self):
        narrow, wide = (self.assert_json(kvfold(*LARGE, "--ranks", 8, "--json", "--allreduce-dtype", dtype)) for dtype in ("auto", "f32"))
        for without, with_f32 in zip(narrow["per_rank"], wide["per_rank"], strict=True):
            self.assertEqual(with_f32["total_bytes"] - without["total_bytes"], 256 * 8192 * 2)

    def test_layers_that_slide_keep_only_their_window(self):
        # Gemma 2 9B: of 42 layers 21 keep 128K positions, and 21 at most 1 + ceil((4096 - 2 + 256) / 128) blocks of 128. A
        # position of a layer is 2 * 8 heads * 256 * 2 bytes.
        command = ("plan", "--model", "gemma-2-9b", "--tokens", 131072, "--ranks", 1, "--device-memory", "40GiB", "--json")
        result = kvfold(*command)
        self.assertEqual(result.code, 3)
        (rank,) = self.assert_json(result)["per_rank"]
        self.assertEqual(rank["cache_bytes"], 21 * (131072 + 35 * 128) * 2 * 8 * 256 * 2)
        self.assertIn("up to 127", kvfold(*command[:-1]).stdout)
        self.assert_done(kvfold(*command, "--kv-dtype", "int8"))

    def test_a_cpu_keeps_nothing_for_itself(self):
        result = kvfold("plan", "--model", "llama-3.1-8b", "--ranks", 2, "--device", "cpu", "--device-memory", "80GB", "--json")
        self.assert_done(result)
        self.assertEqual([rank["reserved_bytes"] for rank in self.assert_json(result)["per_rank"]], [0, 0])

    def test_weights_of_all_ranks_make_the_model(self):
        result = kvfold("plan", "--model", "llama-3.1-8b", "--ranks", 1, "--device-memory", "80GB", "--json")
        self.assert_done(result)
        (rank,) = self.assert_json(result)["per_rank"]
        # 8.03e9 parameters in bf16, less the table of 128256 x 4096, which no rank holds.
        self.assertAlmostEqual(rank["weights_bytes"] / (2 * (8030261248 - 128256 * 4096)), 1.0, delta=0.01)

    def test_heads_that_do_not_divide(self):
        result = kvfold("plan", "--model", "qwen2.5-7b", "--ranks", 3, "--device-memory", "40GiB")
        self.assert_done(result)
        self.assertIn("do not divide evenly", result.stdout)
        result = kvfold("plan", "--model", "qwen2.5-7b", "--ranks", 3, "--device-memory", "40GiB", "--json")
        heads = [rank["query_heads"] for rank in self.assert_json(result)["per_rank"]]
        self.assertEqual(sum(heads), 28)
        self.assertLessEqual(max(heads) - min(heads), 1)

    def test_columns_line_up(self):
        table = [line for line in kvfold(*LARGE, "--ranks", 8).stdout.splitlines()[1:10]]
        self.assertEqual(len({len(line) for line in table}), 1, table)

    def test_too_many_ranks(self):
        self.assert_refused(kvfold("plan", "--model", "llama-3.1-70b", "--ranks", 65), "65", "64")
        self.assertIn(kvfold(*LARGE, "--ranks", 64).code, (0, 3))

    def test_nonsense(self):
        for text in ("nonsense", "40", "-1GiB", "40  GiB", "40GiBs", "", "nan", "inf", "1e400GiB"):
            with self.subTest(text=text):
                result = kvfold("plan", "--model", "llama-3.1-70b", f"--device-memory={text}")
                if text == "40":  # 40 bytes
                    self.assertEqual(result.code, 3, str(result))
                else:
                    self.assert_refused(result, "--device-memory")
        self.assert_refused(kvfold("plan", "--model", "llama-3.1-70b", "--tokens", 0), "--tokens")
        self.assert_refused(kvfold("plan", "--model", "llama-3.1-70b", "--ranks", 0), "--ranks")

    def test_a_containers_limits_count(self):
        def limits(cpu, memory):
            return f"mount -t tmpfs tmpfs /sys/fs/cgroup; echo '{cpu} 100000' > /sys/fs/cgroup/cpu.max; " \
                   f"echo {memory} > /sys/fs/cgroup/memory.max"
        result = with_mounts(limits(50000, 3 << 28), "info", "--json")
        self.assert_done(result)
        (cpu, *_) = self.assert_json(result)["devices"]
        self.assertEqual((cpu["threads"], cpu["memory_bytes"]), (1, 3 << 28))
        plan = self.assert_json(with_mounts(limits(50000, 3 << 28), "plan", "--model", LLAMA, "--ranks", 2, "--json"))
        self.assertEqual(plan["device_bytes"], 3 << 27)
        tokens = self.write("t.json", "[1, 2, 3]")
        score = ["score", "--model", LLAMA, "--tokens", tokens]
        result = with_mounts(limits(50000, 3 << 28), *score)
        self.assert_done(result)
        self.assertIn(", 1 thread;", result.stderr)
        # The weights alone take more; the workspace depends on the processor.
        self.assert_refused(with_mounts(limits("max", 1 << 18), *score), "256.0 KiB", "control group", code=3)
        self.assert_refused(with_mounts(limits("max", 1 << 18), *score, ranks=2), "2 ranks", "256.0 KiB", code=3)
        result = with_mounts(limits("max", 8 << 20), *score, "--max-tokens", 100000)
        self.assert_done(result)
        self.assertEqual(result.stderr.count("8.00 MiB"), 1, str(result))
        self.assertNotIn("control group", with_mounts(limits("max", "max"), *score).stderr)

    def test_unknown_name_lists_the_names(self):
        self.assert_refused(kvfold("plan", "--model", "llama-9"), "llama-9", "llama-3.1-8b", "llama-3.1-70b", "qwen2.5-7b")

    def test_a_folder_and_a_file(self):
        for model in (LLAMA, LLAMA + "_gguf/model.gguf"):
            result = kvfold("plan", "--model", model, "--tokens", 1000, "--ranks", 2, "--json")
            self.assert_done(result)
            self.assertEqual([rank["query_heads"] for rank in self.assert_json(result)["per_rank"]], [2, 2])

    def test_what_no_run_could_load_is_not_planned_for(self):
        model = self.path("model")
        shutil.copytree(LLAMA, model)
        self.assert_done(kvfold("plan", "--model", os.path.join(model, "config.json")))
        tokens = LLAMA + "/reference/tokens.json"
        with open(os.path.join(model, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        for changes in ({"hidden_size": 128}, {"num_hidden_layers": config["num_hidden_layers"] + 1}):
            with open(os.path.join(model, "config.json"), "w", encoding="utf-8") as file:
                json.dump({**config, **changes}, file)
            planned = kvfold("plan", "--model", model)
            self.assert_refused(planned, "tensor")
            self.assertEqual(planned.sentences, kvfold("score", "--model", model, "--tokens", tokens).sentences)
        os.remove(os.path.join(model, "model.safetensors"))
        self.assert_done(kvfold("plan", "--model", model))  # a config alone
        with open(os.path.join(model, "pytorch_model.bin"), "wb") as file:
            file.write(b"PK\3\4")
        self.assert_refused(kvfold("plan", "--model", model), "pytorch_model.bin", "safetensors")

    def test_a_quantisation_that_no_run_reads(self):
        model = self.path("m.gguf")
        with open(LLAMA + "_gguf/model.gguf", "rb") as file:
            data = bytearray(file.read())
        # The type of the first layer's norm, behind its name, one dimension and 8 bytes of it: I8, four of which an F32 holds.
        at = data.index(b"blk.0.attn_norm.weight") + len(b"blk.0.attn_norm.weight") + 4 + 8
        self.assertEqual(data[at:at + 4], bytes(4))
        data[at] = 24
        with open(model, "wb") as file:
            file.write(data)
        self.assert_refused(kvfold("plan", "--model", model), "blk.0.attn_norm.weight is of type I8")

    def test_shipped_config_has_no_weights(self):
        self.assert_refused(kvfold("score", "--model", "llama-3.1-8b", "--tokens", LLAMA + "/reference/tokens.json"),
                            "llama-3.1-8b", "no weights")


class Info(LauncherCase):
    def test_json(self):
        result = kvfold("info", "--json")
        self.assert_done(result)
        self.assertEqual(result.stderr, "")
        info = self.assert_json(result)
        self.assertLessEqual({"version", "devices", "mpi", "nccl", "cuda"}, set(info))
        self.assertEqual(info["devices"][0]["kind"], "cpu")
        self.assertIn("MPI", info["mpi"])
        self.assertEqual(info["version"], kvfold("--version").stdout.strip())

    def test_text(self):
        result = kvfold("info")
        self.assert_done(result)
        self.assertIn("MPI", result.stdout)


class Tokenize(LauncherCase):
    def test_without_tokenizer(self):
        self.assert_refused(kvfold("tokenize", "--model", LLAMA, "--text", "a"), LLAMA, "tokenizer")

    def test_wrong_paths(self):
        self.assert_refused(kvfold("tokenize", "--model", "/no/such", "--text", "a"), "/no/such")
        self.assert_refused(kvfold("tokenize", "--model", LLAMA, "--file", "/no/text"), "/no/text")
        self.assert_refused(kvfold("tokenize", "--model", LLAMA, "--file", self.folder), self.folder, "folder")

    @unittest.skipUnless(os.environ.get("KVFOLD_DEMO_MODEL"), "KVFOLD_DEMO_MODEL is not set")
    def test_demo_model(self):
        model = os.environ["KVFOLD_DEMO_MODEL"]
        text = "Folding, it is said, keeps everything.\n\n  Ünïcode \U0001f600 too."
        by_text = kvfold("tokenize", "--model", model, "--text", text)
        self.assert_done(by_text)
        by_file = kvfold("tokenize", "--model", model, "--file", self.write("text.txt", text))
        self.assertEqual(by_text.stdout, by_file.stdout)
        self.assertEqual(by_text.stderr, "")
        ids = json.loads(by_text.stdout)
        self.assertGreater(len(ids), 10)
        self.assertTrue(all(isinstance(token, int) for token in ids))
        self.assertEqual(json.loads(kvfold("tokenize", "--model", model, "--text", "").stdout), [])


if __name__ == "__main__":
    main()
