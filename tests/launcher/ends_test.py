"""Where a generation ends: at the ends of the model, at the end of a turn of its chat template, at stop strings of any tokens."""

import json

from chain_model import CHATML, SPECIALS, chain_model
from launcher_case import LauncherCase, kvfold, main, read_json_lines

# "hi" ends a turn, and the next one begins.
TURNS = {"\n": "h", "h": "i", "i": "<|im_end|>", "<|im_end|>": "\n"}


class Ends(LauncherCase):
    def batch(self, model, requests, ranks=None):
        prompts = self.write_lines("in.jsonl", [{"id": str(i), "max_new_tokens": 9, **request} for i, request in enumerate(requests)])
        output = self.path(f"out{ranks}.jsonl")
        self.assert_done(kvfold("run", "--model", model, "--prompts", prompts, "--output", output, "--concurrency", 2, ranks=ranks))
        records = {record["id"]: record for record in read_json_lines(output)}
        return [(records[str(i)]["text"], records[str(i)]["finish_reason"]) for i in range(len(requests))]

    def test_a_chat_ends_with_the_turn_whatever_eos_says(self):
        model = chain_model(self.folder, TURNS, config={"eos_token_id": 256})
        messages = {"messages": [{"role": "user", "content": "say hi"}]}
        self.assertEqual(self.batch(model, [messages, {"prompt": "\n"}, {"tokens": [198]}]),
                         # Without a chat only the model's own ends count, as in transformers.
                         [("hi", "stop"), ("hi\nhi\nh", "length"), ("hi\nhi\nh", "length")])
        result = kvfold("run", "--model", model, "--chat", "--prompt", "say hi", "--max-new-tokens", 9, "--json")
        self.assert_done(result)
        record = self.assert_json(result)
        self.assertEqual((record["text"], record["finish_reason"], record["new_tokens"]), ("hi", "stop", 2))

    def test_a_chat_ends_at_the_eos_of_its_tokenizer(self):
        template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
        model = chain_model(self.folder, TURNS, tokenizer_config={"chat_template": template, "eos_token": "<|im_end|>"})
        self.assertEqual(self.batch(model, [{"messages": [{"role": "user", "content": "x"}]}]), [("hi", "stop")])

    def test_stop_strings_of_special_tokens(self):
        model = chain_model(self.folder, TURNS)
        stops = [["<|im_end|>"], ["i<|im_end|>"], ["hi<|im_end|>"], ["<|im_end|>\nh"], ["<|im_end|>\nhi<|im_end|>"],
                 ["zz", "<|im_end|>"], ["<|im_end|>\n", "\nhi"], ["<|endoftext|>"], ["im_end"]]
        want = [("hi", "stop"), ("h", "stop"), ("", "stop"), ("hi", "stop"), ("hi", "stop"),
                ("hi", "stop"), ("hi", "stop"), ("hi\nhi\nh", "length"), ("hi\nhi\nh", "length")]
        requests = [{"prompt": "\n", "stop": stop} for stop in stops]
        self.assertEqual(self.batch(model, requests), want)
        self.assertEqual(self.batch(model, requests, ranks=2), want)

    def test_tokens_of_tokenizer_config_are_read(self):
        decoder = {str(256 + i): {"content": name, "special": True, "normalized": False} for i, name in enumerate(SPECIALS)}
        whole = chain_model(self.folder, TURNS)
        arguments = ["--text", "<|im_start|>user\nhello<|im_end|>"]
        want = json.loads(kvfold("tokenize", "--model", whole, *arguments).stdout)
        model = chain_model(self.folder, TURNS, tokenizer_config={"added_tokens_decoder": decoder, "chat_template": CHATML}, added=[])
        result = kvfold("tokenize", "--model", model, *arguments)
        self.assert_done(result)
        self.assertEqual(json.loads(result.stdout), want)
        self.assertEqual(len(want), 12)


if __name__ == "__main__":
    main()
