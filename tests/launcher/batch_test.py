"""run over --prompts: results in order, never lost, never done twice."""

import fcntl
import json
import os

from byte_model import byte_model
from launcher_case import LLAMA, LauncherCase, kvfold, main, read_json, read_json_lines

TOKENS = read_json(LLAMA, "reference", "tokens.json")
RECORD_KEYS = {"id", "key", "text", "tokens", "prompt_tokens", "new_tokens", "finish_reason", "timings", "transport"}


class Batch(LauncherCase):
    def setUp(self):
        super().setUp()
        self.output = self.path("out.jsonl")
        self.requests = [{"id": f"r{i}", "tokens": TOKENS[i:i + 20 + 13 * i], "max_new_tokens": 9 - 2 * i}
                         for i in range(4)]

    def run_batch(self, requests, *arguments, ranks=None, output=None, model=LLAMA):
        prompts = requests if isinstance(requests, str) else self.write_lines("in.jsonl", requests)
        return kvfold("run", "--model", model, "--dtype", "f32", "--chunk", 16, "--prompts", prompts, "--output",
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

    def results(self):
        """Records by id without what the clock says, sure that no id is there twice."""
        records = self.records()
        results = {record["id"]: {key: value for key, value in record.items() if key != "timings"}
                   for record in records}
        self.assertEqual(len(results), len(records))
        return results

    def document_requests(self):
        """Six questions on two documents by turns, and two requests without one."""
        book = self.write("book.txt", "It was a dark and stormy night. " * 40)
        letter = self.write("letter.txt", "Dear reader, " * 30)
        requests = [{"id": f"q{i}", "document": [book, letter][i % 2], "prompt": f"{i} Why? " * (1 + i),
                     "max_new_tokens": 5 + i % 3, "temperature": 0.9, "seed": i} for i in range(6)]
        requests.insert(3, {"id": "alone", "prompt": "Hello", "max_new_tokens": 9})
        requests.insert(5, {"id": "tokens", "tokens": [1, 2, 3], "max_new_tokens": 4})
        return requests

    def test_documents_are_folded_once(self):
        model = byte_model(self.folder)
        requests = self.document_requests()
        alone = {}
        for request in requests:  # each by itself
            self.output = self.path(f"{request['id']}.jsonl")
            summary = self.assert_json(self.run_batch([request], "--json", model=model))
            self.assertEqual(summary["shared_tokens"], 0)
            alone.update(self.results())
        # 1280 and 390 bytes, one token each, and two questions more on either: whole chunks of 16.
        saved = 2 * 1280 + 2 * 384
        for arguments in ([], ["--concurrency", 4], ["--concurrency", 4, "--max-tokens", 1400]):
            with self.subTest(arguments=arguments):
                self.output = self.path(f"together{len(arguments)}.jsonl")
                result = self.run_batch(requests, "--json", *arguments, model=model)
                summary = self.assert_json(result)
                self.assertEqual(summary["shared_tokens"], saved)
                self.assertEqual(summary["prompt_tokens"], sum(r["prompt_tokens"] for r in self.records()))
                self.assertIn(f"shared: {saved} tokens", result.stderr)
                self.assertEqual(self.results(), alone)
                if not arguments:  # those of a document together, where the first of them stands
                    self.assertEqual([record["id"] for record in self.records()],
                                     ["q0", "q2", "q4", "q1", "q3", "q5", "alone", "tokens"])

    def test_resumed_documents_are_shared_by_those_that_are_left(self):
        model = byte_model(self.folder)
        requests = self.document_requests()
        self.assert_done(self.run_batch(requests, model=model))
        whole = self.results()
        with open(self.output, encoding="utf-8") as file:
            lines = file.readlines()
        for kept, saved in [(lines[1:2], 1280 + 2 * 384), (lines[0:2], 2 * 384), (lines[5:], 2 * 1280 + 384)]:
            self.write("out.jsonl", "".join(kept))
            summary = self.assert_json(self.run_batch(requests, "--json", model=model))
            self.assertEqual((summary["done"], summary["done_before"]), (8 - len(kept), len(kept)))
            self.assertEqual(summary["shared_tokens"], saved)
            self.assertEqual(self.results(), whole)

    def test_documents_over_ranks_and_windows(self):
        """A sliding window drops what a fork shares; ranks fork alike."""
        model = byte_model(self.folder, "mistral_window")
        documents = self.document_requests()
        for ranks in (2, 3):
            with self.subTest(ranks=ranks):
                self.output = self.path(f"one{ranks}.jsonl")
                one = self.assert_json(self.run_batch(documents, "--json", model=model, ranks=ranks))
                want = self.results()
                self.output = self.path(f"four{ranks}.jsonl")
                four = self.assert_json(self.run_batch(documents, "--json", "--concurrency", 4, model=model, ranks=ranks))
                self.assertEqual(self.results(), want)
                self.assertEqual(one["shared_tokens"], 2 * 1280 + 2 * 384)
                self.assertEqual(four["shared_tokens"], one["shared_tokens"])

    def test_other_bytes_are_another_document(self):
        model = byte_model(self.folder)
        requests = [{"id": "a", "document": self.write("a.txt", "x" * 100), "prompt": "?"},
                    {"id": "b", "document": self.write("b.txt", "x" * 100), "prompt": "!"},
                    {"id": "c", "document": self.write("c.txt", ""), "prompt": "!"}]
        summary = self.assert_json(self.run_batch(requests, "--json", model=model))
        self.assertEqual((summary["shared_tokens"], summary["errors"]), (0, 0))

    def test_errors_are_run_again_when_asked(self):
        model = byte_model(self.folder)
        book = self.path("book.txt")
        requests = [{"id": "a", "prompt": "Hello", "max_new_tokens": 3},
                    {"id": "b", "document": book, "prompt": "Why?", "max_new_tokens": 3},
                    {"id": "c", "prompt": "x" * 50, "max_new_tokens": 3}]
        arguments = ["--json", "--max-tokens", 40]
        self.assertEqual(self.assert_json(self.run_batch(requests, *arguments, model=model))["errors"], 2)
        self.write("book.txt", "A short book.")
        before = self.bytes_of_output()
        # Errors count as done, also that of the document which has come meanwhile.
        summary = self.assert_json(self.run_batch(requests, *arguments, model=model))
        self.assertEqual((summary["done"], summary["done_before"]), (0, 3))
        self.assertEqual(self.bytes_of_output(), before)
        # Another question is another request.
        changed = [requests[0], {**requests[1], "prompt": "When?"}, requests[2]]
        self.assert_refused(self.run_batch(changed, *arguments, model=model), '"b"', "--retry-errors")
        for retried, errors, n_records in [(changed, 1, 5), (changed, 1, 6)]:
            summary = self.assert_json(self.run_batch(retried, *arguments, "--retry-errors", model=model))
            self.assertEqual(summary["errors"], errors)
            records = self.records()
            self.assertEqual(len(records), n_records)
            last = {record["id"]: record for record in records}
            self.assertIn("text", last["b"])
            self.assertIn("error", last["c"])
            self.assertTrue(self.bytes_of_output().startswith(before))
        self.assert_refused(self.run_batch(requests, *arguments, model=model), '"b"', "another output")
        summary = self.assert_json(self.run_batch(changed, *arguments, model=model))
        self.assertEqual((summary["done"], summary["done_before"]), (0, 3))

    def test_retry_errors_is_for_batches(self):
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "a", "--retry-errors"), "--prompts")

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
                          ('{"id": "x", "tokens": [1], "seed": -1}', "seed"),
                          ('{"id": "x", "tokens": [1], "tokens": [2]}', '"tokens" stands there twice'),
                          ('{"id": "x", "tokens": ' + "[" * 100000 + "]" * 100000 + "}", "nested"),
                          (b'{"id": "x", "prompt": "\xff"}', "JSON"), ('\udcff{}'.encode("utf-8", "surrogateescape"), "JSON")]:
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
