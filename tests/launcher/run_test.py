"""run on one prompt, and the greedy text of every fixture."""

import json
import math
import os
import shutil
import unittest

from byte_model import byte_model
from hurt_model import set_weights
from launcher_case import LLAMA, MODELS, LauncherCase, kvfold, main, read_json, read_json_lines

DEMO = os.environ.get("KVFOLD_DEMO_MODEL")


class Greedy(LauncherCase):
    def greedy(self, model, *arguments, ranks=None):
        folder = os.path.join(MODELS, model)
        reference = read_json(folder, "reference", "greedy.json")["tokens"]
        # The reference goes on after an end of text, id 2 in all fixtures; kvfold stops there.
        want = reference[:reference.index(2)] if 2 in reference else reference
        path = os.path.join(folder, "model.gguf") if model.endswith("_gguf") else folder
        prompts = self.write_lines("in.jsonl", [{"id": "a", "tokens": read_json(folder, "reference", "tokens.json"),
                                                 "max_new_tokens": len(reference)}])
        output = self.path("out.jsonl")
        if os.path.exists(output):
            os.remove(output)
        result = kvfold("run", "--model", path, "--dtype", "f32", "--prompts", prompts, "--output", output, *arguments,
                        ranks=ranks)
        self.assert_done(result)
        self.assertEqual(result.stdout, "")
        (record,) = read_json_lines(output)
        self.assertEqual(record["tokens"], want)
        self.assertEqual(record["new_tokens"], len(want))
        self.assertEqual(record["finish_reason"], "length" if want == reference else "stop")
        return record

    def test_every_fixture(self):
        models = sorted(os.listdir(MODELS))
        self.assertGreater(len(models), 10)
        for model in models:
            with self.subTest(model=model):
                self.greedy(model, "--chunk", 64)

    def test_any_chunk(self):
        for arguments, chunks in [(["--chunk", 1], 180), (["--chunk", 7], 26), (["--chunk", 256], 1),
                                  (["--attention", "full", "--chunk", 7], 1)]:
            with self.subTest(arguments=arguments):
                self.assertEqual(self.greedy("llama_gqa", *arguments)["timings"]["chunks"], chunks)

    def test_under_mpirun(self):
        for ranks in (2, 3):
            for model in ("llama_gqa", "llama_9_3"):
                with self.subTest(ranks=ranks, model=model):
                    self.greedy(model, "--chunk", 7, ranks=ranks)


class Single(LauncherCase):
    def test_without_tokenizer_names_token_ids(self):
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "hello"), LLAMA, "tokenizer", "tokens", "--prompts")
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "hello", ranks=2), "tokens", "--prompts")

    def test_prompt_files_that_are_not_there(self):
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt-file", "/no/prompt"), "/no/prompt")
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "a", "--document", "/no/document"), "/no/document")


class NotNumbers(LauncherCase):
    """Weights that hold NaN or infinity: no text, one sentence that names the position."""

    SAMPLED = ["--temperature", 0.8, "--top-k", 5]

    def setUp(self):
        super().setUp()
        self.model = byte_model(self.folder)

    def run_prompt(self, *arguments, ranks=None):
        return kvfold("run", "--model", self.model, "--prompt", "hello", "--max-new-tokens", 5, *arguments, ranks=ranks)

    def test_one_prompt(self):
        set_weights(self.model, "model.layers.1.mlp.down_proj.weight", math.nan)
        for arguments, ranks in [([], None), (["--json"], None), (self.SAMPLED, None), (["--kv-dtype", "int8"], None),
                                 ([], 2), (self.SAMPLED, 3)]:
            with self.subTest(arguments=arguments, ranks=ranks):
                self.assert_refused(self.run_prompt(*arguments, ranks=ranks), "logits at position 4 ", "not finite", code=1)

    def test_anywhere_in_the_model(self):
        for tensor, row in [("model.layers.0.self_attn.k_proj.weight", None), ("model.layers.0.self_attn.v_proj.weight", 3),
                            ("model.layers.2.input_layernorm.weight", None), ("model.layers.0.mlp.gate_proj.weight", 159),
                            ("model.norm.weight", None), ("lm_head.weight", 255), ("lm_head.weight", 0)]:
            for kv_dtype in ("f32", "bf16", "int8"):
                with self.subTest(tensor=tensor, row=row, kv_dtype=kv_dtype):
                    shutil.rmtree(self.model)
                    byte_model(self.folder)
                    set_weights(self.model, tensor, math.nan, row)
                    self.assert_refused(self.run_prompt("--kv-dtype", kv_dtype), "logits at position 4 ", code=1)

    def test_infinity_of_one_token_on_one_rank(self):
        set_weights(self.model, "lm_head.weight", math.inf, 200)
        for arguments in ([], self.SAMPLED):
            for ranks in (None, 3):
                with self.subTest(arguments=arguments, ranks=ranks):
                    self.assert_refused(self.run_prompt(*arguments, ranks=ranks), "logits at position 4 ", code=1)

    def test_requests_of_a_batch_fail_alone(self):
        set_weights(self.model, "model.embed_tokens.weight", math.nan, 7)
        requests = [{"id": f"r{i}", "tokens": [1, 2, 7 if i % 2 == 1 else 3, 20 + i], "max_new_tokens": 4,
                     "temperature": 0.7 * (i // 2)} for i in range(5)]
        prompts = self.write_lines("in.jsonl", requests)
        output = self.path("out.jsonl")
        for arguments, ranks in [([], None), (["--concurrency", 3], None), (["--concurrency", 2], 2)]:
            with self.subTest(arguments=arguments, ranks=ranks):
                result = kvfold("run", "--model", self.model, "--prompts", prompts, "--output", output, "--json", *arguments,
                                ranks=ranks)
                self.assert_done(result)
                self.assertEqual(self.assert_json(result)["errors"], 2)
                records = {record["id"]: record for record in read_json_lines(output)}
                for i in range(5):
                    record = records[f"r{i}"]
                    if i % 2 == 1:
                        self.assertEqual(record["error"]["code"], "failed")
                        self.assertIn("logits at position 3 ", record["error"]["message"])
                    else:
                        self.assertEqual(len(record["tokens"]), record["new_tokens"])
                os.remove(output)


@unittest.skipUnless(DEMO, "KVFOLD_DEMO_MODEL is not set")
class DemoModel(LauncherCase):
    FACT = "The lighthouse on Skarven was built by Anna Kvist in 1931 and is 42 metres high.\n"
    QUESTION = "Who built the lighthouse on Skarven? Answer with the name."

    def test_chat_over_a_document_on_two_ranks(self):
        document = self.write("document.txt", self.FACT)
        result = kvfold("run", "--model", DEMO, "--chat", "--document", document, "--prompt", self.QUESTION,
                        "--max-new-tokens", 24, "--chunk", 16, ranks=2)
        self.assert_done(result)
        self.assertIn("Anna Kvist", result.stdout)
        self.assertTrue(result.stdout.endswith("\n"))
        self.assertIn("peak memory by rank: 0: ", result.stderr)

    def test_standard_output_is_the_completion_and_a_newline(self):
        arguments = ["run", "--model", DEMO, "--prompt", "The capital of France is", "--max-new-tokens", 8, "--dtype", "f32"]
        as_json = kvfold(*arguments, "--json")
        self.assert_done(as_json)
        completion = self.assert_json(as_json)
        self.assertIn("Paris", completion["text"])
        self.assertEqual(completion["new_tokens"], len(completion["tokens"]))
        plain = kvfold(*arguments)
        self.assert_done(plain)
        self.assertEqual(plain.stdout, completion["text"] + "\n")
        from_file = kvfold("run", "--model", DEMO, "--prompt-file", self.write("p.txt", "The capital of France is"),
                           *arguments[5:])
        self.assertEqual(from_file.stdout, plain.stdout)

    def test_seeds(self):
        def sample(seed):
            return kvfold("run", "--model", DEMO, "--prompt", "Once upon a time", "--max-new-tokens", 12, "--temperature",
                          1.5, "--top-k", 50, "--top-p", 0.95, "--seed", seed).stdout
        first = sample(1)
        self.assertEqual(first, sample(1))
        self.assertNotEqual(first, sample(2))

    def test_empty_prompt(self):
        self.assert_refused(kvfold("run", "--model", DEMO, "--prompt", ""), "empty")

    def test_prompt_longer_than_the_cache(self):
        result = kvfold("run", "--model", DEMO, "--prompt", "one two three four five", "--max-new-tokens", 4, "--max-tokens", 5,
                        ranks=2)
        self.assert_refused(result, "--max-tokens")

    def test_messages_stop_and_document(self):
        document = self.write("document.txt", self.FACT)
        question = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": self.QUESTION}]
        prompts = self.write_lines("in.jsonl", [
            {"id": "chat", "messages": question, "document": document, "max_new_tokens": 24},
            {"id": "stop", "prompt": "The capital of France is", "max_new_tokens": 24, "stop": ["aris"]}])
        output = self.path("out.jsonl")
        self.assert_done(kvfold("run", "--model", DEMO, "--prompts", prompts, "--output", output, "--concurrency", 2))
        records = {record["id"]: record for record in read_json_lines(output)}
        self.assertIn("Anna Kvist", records["chat"]["text"])
        self.assertEqual((records["stop"]["text"], records["stop"]["finish_reason"]), (" P", "stop"))
        bad = self.write_lines("bad.jsonl", [{"id": "robot", "messages": [{"role": "robot", "content": "a"}]}])
        self.assert_refused(kvfold("run", "--model", DEMO, "--prompts", bad, "--output", self.path("o")), "line 1", "robot")

    def test_score_of_a_text(self):
        result = kvfold("score", "--model", DEMO, "--text", self.write("t.txt", self.FACT), "--json", ranks=2)
        self.assert_done(result)
        self.assertLess(self.assert_json(result)["nll"], 6.0)
        broken = self.path("latin1.txt")
        with open(broken, "wb") as file:
            file.write("fa\xe7ade".encode("latin-1"))
        self.assert_refused(kvfold("score", "--model", DEMO, "--text", broken), broken)


if __name__ == "__main__":
    main()
