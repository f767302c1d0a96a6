"""run over --prompts: results in order, never lost, never done twice."""

import fcntl
import json
import os

from launcher_case import LLAMA, LauncherCase, kvfold, main, read_json, read_json_lines

TOKENS = read_json(LLAMA, "reference", "tokens.json")
RECORD_KEYS = {"id", "key", "text", "tokens", "prompt_tokens", "new_tokens", "finish_reason", "timings"}


class Batch(LauncherCase):
    def setUp(self):
        super().setUp()
        self.output = self.path("out.jsonl")
        self.requests = [{"id": f"r{i}", "tokens": TOKENS[i:i + 20 + 13 * i], "max_new_tokens": 9 - 2 * i}
                         for i in range(4)]

    def run_batch(self, requests, *arguments, ranks=None, output=None):
        prompts = requests if isinstance(requests, str) else self.write_lines("in.jsonl", requests)
        return kvfold("run", "--model", LLAMA, "--dtype", "f32", "--chunk", 16, "--prompts", prompts, "--output",
                      output or self.output, *arguments, ranks=ranks)

    def records(self):
        return read_json_lines(self.output)

    def bytes_of_output(self):
        with open(self.output, "rb") as file:
            return file.read()

    def test_results_in_order(self):
        result = self.run_batch(self.requests)
        self.assert_done(result)
        self.assertEqual(result.stdout, "")
        records = self.records()
        self.assertEqual([record["id"] for record in records], ["r0", "r1", "r2", "r3"])
        for request, record in zip(self.requests, records):
            self.assertEqual(set(record), RECORD_KEYS)
            self.assertEqual(record["prompt_tokens"], len(request["tokens"]))
            self.assertEqual(record["new_tokens"], len(record["tokens"]))
            self.assertLessEqual(record["new_tokens"], request["max_new_tokens"])
            self.assertEqual(set(record["timings"]), {"fold_s", "decode_s", "chunks"})
            self.assertEqual(record["timings"]["chunks"], -(-len(request["tokens"]) // 16))

    def test_company_and_ranks_change_nothing(self):
        self.assert_done(self.run_batch(self.requests))
        alone = {record["id"]: record["tokens"] for record in self.records()}
        for arguments, ranks in [(["--concurrency", 3], None), ([], 2), (["--concurrency", 4], 3)]:
            with self.subTest(arguments=arguments, ranks=ranks):
                os.remove(self.output)
                self.assert_done(self.run_batch(self.requests, *arguments, ranks=ranks))
                self.assertEqual({record["id"]: record["tokens"] for record in self.records()}, alone)

    def test_same_command_again_does_nothing(self):
        for ranks in (None, 2):
            self.output = self.path(f"out{ranks}.jsonl")
            first = self.assert_json(self.run_batch(self.requests, "--json", ranks=ranks))
            self.assertEqual((first["done"], first["done_before"], first["errors"]), (4, 0, 0))
            before = self.bytes_of_output()
            again = self.run_batch(self.requests, "--json", ranks=ranks)
            self.assert_done(again)
            self.assertEqual(self.bytes_of_output(), before)
            summary = self.assert_json(again)
            self.assertEqual((summary["done"], summary["done_before"], summary["prompt_tokens"]), (0, 4, 0))
            self.assertNotIn("weights", again.stderr)  # nothing was loaded

    def test_removed_line_is_done_again(self):
        self.assert_done(self.run_batch(self.requests))
        before = self.records()
        with open(self.output, encoding="utf-8") as file:
            lines = file.readlines()
        self.write("out.jsonl", "".join(lines[:1] + lines[2:]))
        self.assert_done(self.run_batch(self.requests))
        after = self.records()
        self.assertEqual([record["id"] for record in after], ["r0", "r2", "r3", "r1"])
        self.assertEqual((after[3]["key"], after[3]["tokens"]), (before[1]["key"], before[1]["tokens"]))

    def test_torn_last_line_is_done_again(self):
        self.assert_done(self.run_batch(self.requests))
        whole = self.bytes_of_output()
        ids = [record["id"] for record in self.records()]
        last = whole.rindex(b"\n", 0, -1) + 1
        for end in (len(whole) - 1, len(whole) - 5, last + 1, last):
            with self.subTest(end=end):
                with open(self.output, "wb") as file:
                    file.write(whole[:end])
                self.assert_done(self.run_batch(self.requests))
                self.assertEqual([record["id"] for record in self.records()], ids)
                self.assertEqual(self.bytes_of_output()[:last], whole[:last])

    def test_new_requests_are_added(self):
        self.assert_done(self.run_batch(self.requests[:2]))
        before = self.bytes_of_output()
        self.assert_done(self.run_batch(self.requests))
        self.assertEqual(self.bytes_of_output()[:len(before)], before)
        self.assertEqual([record["id"] for record in self.records()], ["r0", "r1", "r2", "r3"])

    def test_same_id_of_another_request(self):
        self.assert_done(self.run_batch(self.requests))
        before = self.bytes_of_output()
        self.requests[2]["tokens"] = [1, 2, 3]
        self.assert_refused(self.run_batch(self.requests), '"r2"', self.output)
        self.assertEqual(self.bytes_of_output(), before)

    def test_other_options_are_another_request(self):
        self.assert_done(self.run_batch(self.requests[:1]))
        for arguments, ranks in [(["--temperature", 1], None), (["--seed", 5], None), (["--kv-dtype", "bf16"], None),
                                 (["--attention", "full"], None), ([], 2)]:
            with self.subTest(arguments=arguments, ranks=ranks):
                self.assert_refused(self.run_batch(self.requests[:1], *arguments, ranks=ranks), '"r0"')

    def test_malformed_lines(self):
        good = json.dumps(self.requests[0]) + "\n"
        for bad, word in [("{", "JSON"), ("[1]", "JSON object"), ("{}", "id"), ('{"id": "x"}', "prompt"),
                          ('{"id": "x", "prompt": "a", "tokens": [1]}', "exactly one"),
                          ('{"id": 7, "tokens": [1]}', "id"), ('{"id": "x", "tokens": 1}', "tokens"),
                          ('{"id": "x", "tokens": [1], "max_new_tokens": 0}', "max_new_tokens"),
                          ('{"id": "x", "tokens": [1], "temperature": "hot"}', "temperature"),
                          ('{"id": "x", "tokens": [1], "stop": "a"}', "stop"),
                          ('{"id": "x", "tokens": [1], "colour": 1}', "colour"),
                          ('{"id": "x", "tokens": [1], "seed": -1}', "seed"), ('\udcff{}'.encode("utf-8", "surrogateescape"), "JSON")]:
            with self.subTest(bad=bad):
                prompts = self.path("bad.jsonl")
                with open(prompts, "wb") as file:
                    file.write(good.encode() + b"\n" + (bad if isinstance(bad, bytes) else bad.encode()) + b"\n")
                self.assert_refused(self.run_batch(prompts), f"{prompts}, line 3", word)
                self.assertIn(self.read_output_or_empty(), "")

    def read_output_or_empty(self):
        if not os.path.exists(self.output):
            return ""
        with open(self.output, encoding="utf-8") as file:
            return file.read()

    def test_malformed_line_under_mpirun(self):
        prompts = self.write("bad.jsonl", '{"id": "x"\n')
        self.assert_refused(self.run_batch(prompts, ranks=2), f"{prompts}, line 1")

    def test_duplicate_ids(self):
        self.requests[3]["id"] = "r1"
        self.assert_refused(self.run_batch(self.requests), "line 4", '"r1"')
        self.assertEqual(self.read_output_or_empty(), "")

    def test_requests_that_fail_do_not_stop_the_others(self):
        mixed = [self.requests[0], {"id": "document", "prompt": "a", "document": self.path("none.txt")},
                 {"id": "long", "tokens": TOKENS[:50], "max_new_tokens": 20}, {"id": "empty", "tokens": []},
                 {"id": "vocabulary", "tokens": [1, 256]}, {"id": "text", "prompt": "no tokenizer here"},
                 self.requests[1]]
        for ranks in (None, 2):
            with self.subTest(ranks=ranks):
                self.output = self.path(f"out{ranks}.jsonl")
                result = self.run_batch(mixed, "--max-tokens", 60, "--json", ranks=ranks)
                self.assert_done(result)
                self.assertEqual(self.assert_json(result)["errors"], 5)
                records = self.records()
                self.assertEqual([record["id"] for record in records], [request["id"] for request in mixed])
                for record, word in zip(records[1:6], [self.path("none.txt"), "--max-tokens", "empty", "256", "tokens"]):
                    self.assertEqual(set(record), {"id", "key", "error"})
                    self.assertEqual(record["error"]["code"], "bad_input")
                    self.assertIn(word, record["error"]["message"])
                self.assertEqual([len(records[i]["tokens"]) for i in (0, 6)], [9, 7])
                before = self.bytes_of_output()
                self.assert_done(self.run_batch(mixed, "--max-tokens", 60, ranks=ranks))
                self.assertEqual(self.bytes_of_output(), before)

    def test_only_failures(self):
        result = self.run_batch([{"id": "a", "prompt": "text"}], "--json", ranks=2)
        self.assert_done(result)
        self.assertEqual(self.assert_json(result)["errors"], 1)

    def test_no_requests(self):
        for text in ("", "\n \n"):
            result = self.run_batch(self.write("in.jsonl", text), "--json")
            self.assert_done(result)
            self.assertEqual(self.assert_json(result)["done"], 0)
            self.assertEqual(self.read_output_or_empty(), "")

    def test_output_that_cannot_be_written(self):
        for output in ("/no/such/folder/out.jsonl", self.folder):
            for ranks in (None, 2):
                self.assert_refused(self.run_batch(self.requests, ranks=ranks, output=output), output)

    def test_output_that_is_another_file(self):
        for text in ("a letter to a friend\n", '{"id": "r0"}\n', "[1]\n"):
            self.write("out.jsonl", text)
            self.assert_refused(self.run_batch(self.requests), self.output, "line 1")
            self.assertEqual(self.read_output_or_empty(), text)

    def test_output_that_is_locked(self):
        with open(self.output, "w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for ranks in (None, 2):
                self.assert_refused(self.run_batch(self.requests, ranks=ranks), self.output, "another process")
        self.assert_done(self.run_batch(self.requests))

    def test_prompts_that_cannot_be_read(self):
        self.assert_refused(self.run_batch("/no/such/in.jsonl"), "/no/such/in.jsonl")
        self.assert_refused(self.run_batch(self.folder), self.folder, "folder")


if __name__ == "__main__":
    main()
