"""run over --prompts: results in order, never lost, never done twice."""

import fcntl
import json
import os
import signal
import subprocess
import time

from byte_model import byte_model
from launcher_case import KVFOLD, LLAMA, LauncherCase, environment, kvfold, main, read_json, read_json_lines

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

    def test_bad_lines_fail_alone(self):
        good = [json.dumps(self.requests[0]), json.dumps(self.requests[1])]
        for bad, bad_id, word in [
                ("{", "line 3", "JSON"), ("[1]", "line 3", "JSON object"), ("{}", "line 3", "id"),
                ('{"id": "x"}', "x", "prompt"), ('{"id": "x", "prompt": "a", "tokens": [1]}', "x", "exactly one"),
                ('{"id": 7.5, "tokens": [1]}', "line 3", "id"), ('{"id": "x", "tokens": 1}', "x", "tokens"),
                ('{"id": "x", "tokens": [1], "max_new_tokens": 0}', "x", "max_new_tokens"),
                ('{"id": "x", "tokens": [1], "temperature": "hot"}', "x", "temperature"),
                ('{"id": "x", "tokens": [1], "top_p": 2}', "x", "top_p"),
                ('{"id": "x", "tokens": [1], "stop": 3}', "x", "stop"),
                ('{"id": "x", "tokens": [1], "colour": 1}', "x", "colour"),
                ('{"id": "x", "tokens": [1], "seed": -1}', "x", "seed"),
                ('{"id": "x", "tokens": [1], "n": 2}', "x", '"n" is 2'),
                ('{"id": "x", "tokens": [1], "tokens": [2]}', "x", 'key "tokens" appears twice'),
                ('{"id": "x", "tokens": ' + "[" * 100000 + "]" * 100000 + "}", "x", "nested"),
                ('{"id": "x", "prompt": "cut \\ud83d"}', "x", "surrogate"),
                (b'{"id": "x", "prompt": "\xff"}', "x", "UTF-8"), (b"\xff{}", "line 3", "JSON"),
                (bytes(512), "line 3", "zero"), ('{"id": "r0", "tokens": [1]}', "line 3", 'id "r0" stands there twice'),
                ('{"custom_id": "x", "method": "POST", "url": "/v1/embeddings", "body": {}}', "x", "/v1/embeddings")]:
            with self.subTest(bad=bad):
                if os.path.exists(self.output):
                    os.remove(self.output)
                lines = [good[0].encode(), b"", bad if isinstance(bad, bytes) else bad.encode(), good[1].encode()]
                prompts = self.write_bytes("bad.jsonl", b"\n".join(lines))
                result = self.run_batch(prompts, "--json")
                self.assert_done(result)
                self.assertEqual(self.assert_json(result)["errors"], 1)
                records = self.records()
                self.assertEqual([record["id"] for record in records], ["r0", bad_id, "r1"])
                self.assertEqual(records[1]["error"]["code"], "bad_input")
                self.assertIn(f"{prompts}, line 3: ", records[1]["error"]["message"])
                self.assertIn(word, records[1]["error"]["message"])
                self.assertIn(f"{prompts}, line 3: ", result.stderr)
                self.assert_printable(result)
                before = self.bytes_of_output()  # and is done then
                summary = self.assert_json(self.run_batch(prompts, "--json"))
                self.assertEqual((summary["done"], summary["done_before"]), (0, 3))
                self.assertEqual(self.bytes_of_output(), before)

    def test_bad_lines_mended_moved_and_retried(self):
        lines = [json.dumps(self.requests[0]), '{"id": "x", "colour": 1}', "{", json.dumps(self.requests[1])]
        self.assert_done(self.run_batch(self.write("in.jsonl", "\n".join(lines))))
        self.assertEqual([record["id"] for record in self.records()], ["r0", "x", "line 3", "r1"])
        # Another line 3 is another bad line; its record comes behind.
        lines[2] = "}"
        summary = self.assert_json(self.run_batch(self.write("in.jsonl", "\n".join(lines)), "--json"))
        self.assertEqual((summary["done"], summary["done_before"], summary["errors"]), (1, 3, 1))
        # A bad line with an id that is mended is another request of that id.
        lines[1] = '{"id": "x", "tokens": [1, 2, 3], "max_new_tokens": 2}'
        prompts = self.write("in.jsonl", "\n".join(lines))
        self.assert_refused(self.run_batch(prompts), '"x"', "--retry-errors")
        summary = self.assert_json(self.run_batch(prompts, "--json", "--retry-errors"))
        self.assertEqual((summary["done"], summary["done_before"], summary["errors"]), (2, 2, 1))
        last = {record["id"]: record for record in self.records()}
        self.assertIn("tokens", last["x"])
        self.assertIn("error", last["line 3"])

    def test_names_of_bad_lines_are_nobody_elses(self):
        lines = [{"id": "line 2", "tokens": [1, 2], "max_new_tokens": 1}, {"id": "x", "colour": 1},
                 {"id": "x", "tokens": [1, 2], "max_new_tokens": 1}]
        text = "\n".join(map(json.dumps, lines))
        self.assert_done(self.run_batch(self.write("in.jsonl", text.replace('{"id": "x", "colour"', '{"colour"'))))
        self.assertEqual([record["id"] for record in self.records()], ["line 2", "line 2 (bad)", "x"])
        os.remove(self.output)
        self.assert_done(self.run_batch(self.write("in.jsonl", text)))  # a good line comes before a bad one of its id
        self.assertEqual([record["id"] for record in self.records()], ["line 2", "line 2 (bad)", "x"])
        self.assertIn("tokens", self.records()[2])

    def test_files_that_are_no_json_lines(self):
        two = [self.requests[0], self.requests[1]]
        text = "\n".join(map(json.dumps, two))
        for name, data, words in [
                ("array", json.dumps(two, indent=1).encode(), ["JSON array", "one JSON object a line"]),
                ("rows", ("[" + text.replace("\n", ",\n") + "\n]").encode(), ["JSON array"]),
                ("pretty", json.dumps(two[0], indent=1).encode(), ["line 1", "none of the"]),
                ("utf16", text.encode("utf-16"), ["UTF-16"]), ("utf16be", text.encode("utf-16-be"), ["UTF-16"]),
                ("utf16le", text.encode("utf-16-le"), ["UTF-16"]), ("utf32", text.encode("utf-32"), ["UTF-32"]),
                ("binary", b"\x1f\x8b\x08" + bytes(range(255, 100, -1)) * 20, ["line 1", "JSON"]),
                ("one", b'{"id": "x"\n', ["line 1"]), ("text", b"Dear friend,\nhow are you?\n", ["line 1", "none of the 2 lines"])]:
            with self.subTest(name):
                prompts = self.write_bytes(name, data)
                result = self.run_batch(prompts)
                self.assert_refused(result, prompts, *words)
                self.assert_printable(result)
                self.assertEqual(self.read_output_or_empty(), "")

    def test_what_editors_leave_is_read_past(self):
        first, second = (json.dumps(request).encode() for request in self.requests[:2])
        mark = b"\xef\xbb\xbf"
        for name, data in [("bom", mark + first + b"\n" + second), ("bomblank", mark + b"\r\n" + first + b"\r\n" + second),
                           ("bomeach", mark + first + b"\n" + mark + second), ("crlf", first + b"\r\n\r\n" + second + b"\r\n"),
                           ("tabs", b"\t" + first + b"\t \n \t\n" + second),
                           ("separator", first + "\u2028\n".encode() + second), ("zeros", first + b"\n" + second + bytes(512))]:
            with self.subTest(name):
                self.output = self.path(f"{name}.out")
                self.assert_done(self.run_batch(self.write_bytes(name, data)))
                self.assertEqual([record["id"] for record in self.records()], ["r0", "r1"])
                self.assertTrue(all("tokens" in record for record in self.records()))

    def test_openai_lines_give_what_ours_give(self):
        model = byte_model(self.folder)
        chatml = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
                  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
        self.write("model/tokenizer_config.json", json.dumps({"chat_template": chatml}))
        messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Hello there"}]
        ours = [{"id": "a", "messages": messages, "max_new_tokens": 4, "temperature": 1, "seed": 3, "stop": ["x"]},
                {"id": "7", "prompt": "Hello", "max_new_tokens": 3}]
        parts = [{"role": "developer", "content": "be brief"},
                 {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}], "name": "bob"}]
        theirs = [{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
                   "body": {"model": "m", "messages": parts, "max_completion_tokens": 4, "temperature": 1.0, "seed": 3, "stop": "x",
                            "n": 1, "stream": False, "user": None}},
                  {"custom_id": 7, "method": "POST", "url": "/v1/completions", "body": {"prompt": "Hello", "max_tokens": 3.0}}]
        want = None
        for requests in (ours, theirs):
            self.output = self.path(f"{len(requests[0])}.jsonl")
            self.assert_done(self.run_batch(requests, model=model))
            got = {record["id"]: (record["prompt_tokens"], record["tokens"]) for record in self.records()}
            self.assertEqual(set(got), {"a", "7"})
            want = want or got
            self.assertEqual(got, want)

    def test_sampling_of_a_line_is_in_its_key(self):
        request = {"id": "a", "tokens": TOKENS[:20], "max_new_tokens": 12, "temperature": 2.0, "seed": 1}
        results = {}
        for name, fields in [("plain", {}), ("top_k", {"top_k": 1}), ("top_p", {"top_p": 1e-9}), ("all", {"top_k": 256, "top_p": 1.0})]:
            self.output = self.path(f"{name}.jsonl")
            self.assert_done(self.run_batch([{**request, **fields}]))
            results[name] = self.records()[0]
            other = {**request, **fields, "top_k": 2}
            self.assert_refused(self.run_batch([other]), '"a"', "another request")
        greedy = self.path("greedy.jsonl")
        self.assert_done(self.run_batch([{**request, "temperature": 0}], output=greedy))
        want = read_json_lines(greedy)[0]["tokens"]
        self.assertEqual((results["top_k"]["tokens"], results["top_p"]["tokens"]), (want, want))
        self.assertEqual(results["all"]["tokens"], results["plain"]["tokens"])
        self.assertNotEqual(results["plain"]["tokens"], want)

    def test_numbers_and_their_text_are_one_id(self):
        lines = [{"id": 7, "tokens": [1, 2], "max_new_tokens": 1}, {"id": "7", "tokens": [1, 2], "max_new_tokens": 1}]
        self.assert_done(self.run_batch(lines))
        self.assertEqual([record["id"] for record in self.records()], ["7", "line 2"])
        self.assertIn('id "7" stands there twice', self.records()[1]["error"]["message"])

    def test_prompts_from_standard_input(self):
        text = "".join(json.dumps(request) + "\n" for request in self.requests)
        for ranks in (None, 2):
            self.output = self.path(f"out{ranks}.jsonl")
            result = kvfold("run", "--model", LLAMA, "--dtype", "f32", "--prompts", "-", "--output", self.output, ranks=ranks, stdin=text)
            self.assert_done(result)
            self.assertEqual([record["id"] for record in self.records()], ["r0", "r1", "r2", "r3"])
        result = kvfold("run", "--model", LLAMA, "--prompts", "-", "--output", self.path("x"), stdin="{\n")
        self.assert_refused(result, "standard input, line 1")
        self.assertFalse(os.path.exists("-"))

    def test_signal_ends_the_wait_for_standard_input(self):
        process = subprocess.Popen([KVFOLD, "run", "--model", LLAMA, "--prompts", "-", "--output", self.output], env=environment(),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stderr.readline()  # what it runs on is said before anything is read
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=20), 4)
        self.assertIn("kvfold: stopped by SIGTERM: nothing was begun", process.communicate()[1])

    def test_ids_and_names_cannot_obey_the_terminal(self):
        book = self.path("b\x1b[31m\u202eook.txt")
        lines = [self.requests[0], {"id": "e\x1b[2J\n\u202e\u009b", "document": book, "prompt": "a"}, {"\x1b]0;x\x07": 1, "id": "y"}]
        result = self.run_batch(lines)
        self.assert_done(result)
        self.assert_printable(result)
        records = self.records()
        self.assertEqual([record["id"] for record in records], ["r0", lines[1]["id"], "y"])  # what it is called, untouched
        for record in records[1:]:
            self.assertTrue(record["error"]["message"].isprintable())

    def test_document_that_is_cut_or_no_utf8(self):
        model = byte_model(self.folder)
        requests = []
        for name, data in [("cut", "caf\u00e9 \u4e2d".encode()[:-1]), ("whole", "caf\u00e9 ".encode()), ("latin1", b"caf\xe9 au lait"),
                           ("utf16", "caf\u00e9 au lait".encode("utf-16"))]:
            self.write_bytes(name, data)
            requests.append({"id": name, "document": self.path(name), "prompt": "?", "max_new_tokens": 3})
        requests.append({**requests[0], "id": "again"})
        result = self.run_batch(requests, model=model)
        self.assert_done(result)
        records = {record["id"]: record for record in self.records()}
        self.assertEqual(records["cut"]["tokens"], records["whole"]["tokens"])
        self.assertEqual(records["cut"]["prompt_tokens"], records["whole"]["prompt_tokens"])
        self.assertEqual(result.stderr.count(f"{self.path('cut')} ends inside a character: its last 2 bytes are left out"), 1)
        self.assertIn("not UTF-8 at byte 3", records["latin1"]["error"]["message"])
        self.assertIn("UTF-16", records["utf16"]["error"]["message"])

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
        result = self.run_batch(self.requests)
        self.assert_done(result)
        records = self.records()  # the second is not taken for the first one's result
        self.assertEqual([record["id"] for record in records], ["r0", "r1", "r2", "line 4"])
        self.assertIn('line 4: id "r1" stands there twice', records[3]["error"]["message"])
        self.assertEqual(len(records[1]["tokens"]), 7)

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
