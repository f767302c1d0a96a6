"""What a batch holds in memory: a document's tokens once, however many requests ask about it."""

import json
import os
import random
import subprocess

from byte_model import byte_model
from launcher_case import KVFOLD, LauncherCase, environment, main

DOCUMENT_BYTES = 1 << 19  # one token each: 2 MiB of ids
N_REQUESTS = 30


class Memory(LauncherCase):
    def setUp(self):
        super().setUp()
        self.model = byte_model(self.folder)
        chatml = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
                  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
        self.write("model/tokenizer_config.json", json.dumps({"chat_template": chatml}))
        words = random.Random(1)
        text = " ".join("".join(chr(words.randint(97, 122)) for _ in range(7)) for _ in range(DOCUMENT_BYTES // 8))
        self.book = self.write("book.txt", text)

    def peak_bytes(self, requests, max_tokens, code):
        """Of the process, as the kernel counts it."""
        prompts = self.write_lines("in.jsonl", requests)
        output = self.path("out.jsonl")
        if os.path.exists(output):
            os.remove(output)
        with open(self.path("stderr"), "w+", encoding="utf-8") as stderr:
            process = subprocess.Popen([KVFOLD, "run", "--model", self.model, "--dtype", "f32", "--threads", "1", "--prompts", prompts,
                                        "--output", output, "--log-level", "error", "--max-tokens", str(max_tokens)],
                                       stdin=subprocess.DEVNULL, stderr=stderr, env=environment())
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            stderr.seek(0)
            self.assertEqual(process.returncode, code, stderr.read())
        return usage.ru_maxrss * 1024

    def assert_held_once(self, ask):
        """Beyond one request's peak: less than a quarter of what the ids of all would take."""
        # A cache that can hold none of them: every request is an error. One that holds them all and fits no machine: all are
        # read, and then nothing is run.
        for max_tokens, code in ((64, 0), (1 << 40, 3)):
            with self.subTest(max_tokens=max_tokens):
                one = self.peak_bytes([ask(0)], max_tokens, code)
                many = self.peak_bytes([ask(i) for i in range(N_REQUESTS)], max_tokens, code)
                self.assertLess(many - one, 4 * DOCUMENT_BYTES * N_REQUESTS // 4, f"one request {one} bytes, {N_REQUESTS} {many}")

    def test_questions_about_one_document(self):
        self.assert_held_once(lambda i: {"id": str(i), "document": self.book, "prompt": f"question {i}?"})

    def test_document_before_messages(self):
        self.assert_held_once(lambda i: {"id": str(i), "document": self.book, "messages": [{"role": "user", "content": f"question {i}?"}]})

    def test_document_behind_system_messages(self):
        self.assert_held_once(lambda i: {"id": str(i), "document": self.book, "messages": [
            {"role": "system", "content": f"Be number {i}." + "!" * i}, {"role": "user", "content": f"question {i}?"}]})


if __name__ == "__main__":
    main()
