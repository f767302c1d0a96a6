#!/usr/bin/env python3
"""Makes tests/fixtures/demo/ and tests/fixtures/gemma3_270m/: transformers' float32 reading of a real model.

In the virtual environment that scripts/make_fixtures.py describes at its head:

    python scripts/make_demo_reference.py --model "$(scripts/fetch_demo_model.sh)" --out tests/fixtures/demo
    python scripts/make_demo_reference.py --model "$(scripts/fetch_gemma3_model.sh)" --out tests/fixtures/gemma3_270m

The weights are those of the .gguf file, dequantised to float32 by transformers; attention is "eager", on the CPU. Written are

    tokens.json    512 token ids of the beginning of the GPL, version 3; 640 of Gemma 3, whose layers slide by 512
    columns.json   64 vocabulary columns: 32 that the text uses most, 32 drawn at random
    columns.npy    float32 [tokens, 64]: logits of those columns
    logsumexp.npy  float32 [tokens]: log-sum-exp of all logits of a position
    argmax.npy     int32 [tokens]: best token of a position
    gap.npy        float32 [tokens]: how far its logit leads the second (where it leads by less than twice the tolerance, argmax
                   cannot be compared)
    greedy.json    a prompt, its ids, the 32 ids generated greedily after it, their text, and the smallest lead
"""

import argparse
import collections
import json
import math
import pathlib
import sys

import numpy as np
import tokenizers
import torch
import transformers
from gguf import GGUFReader

N_TOKENS = {"smollm": 512, "gemma": 640}
N_COLUMNS = 64
GREEDY_STEPS = 32
GREEDY_MARGIN = 0.05  # ten times the tolerance of 5e-3
PROMPTS = [
    "The capital of France is",
    "The days of the week are Monday, Tuesday,",
    "One, two, three, four, five,",
    "The planets of the solar system, in order from the Sun, are",
    "The alphabet begins with the letters A, B, C,",
    "The months of the year are January, February,",
    "Water boils at 100 degrees Celsius and freezes at",
    "Once upon a time, there was a little girl named",
    "The first ten numbers are: 1, 2, 3,",
]


def read_tokenizer(model):
    """The kind and the tokenizer of the .gguf file; "smollm": every digit alone, then GPT-2's byte-level rule."""
    fields = GGUFReader(model).fields
    if fields["tokenizer.ggml.model"].contents() == "llama":
        read = transformers.AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)
        return "gemma", read.backend_tokenizer
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    vocabulary = {token: i for i, token in enumerate(fields["tokenizer.ggml.tokens"].contents())}
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return "smollm", tokenizer


@torch.no_grad()
def generate_greedily(model, prompt):
    """(ids, smallest lead of the best logit over the second). Every step recomputes the whole text: no cache to trust."""
    text = list(prompt)
    margin = math.inf
    for _ in range(GREEDY_STEPS):
        best = torch.topk(model(torch.tensor([text]), use_cache=False).logits[0, -1], 2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        if margin <= GREEDY_MARGIN:
            return [], margin
        text.append(int(best.indices[0]))
    return text[len(prompt) :], margin


def choose_greedy(model, tokenizer, end_ids):
    for prompt in PROMPTS:
        ids = tokenizer.encode(prompt).ids
        generated, margin = generate_greedily(model, ids)
        print(f"{prompt!r}: smallest lead {margin:.4f}", flush=True)
        if generated and not end_ids & set(generated):
            return {
                "prompt": prompt,
                "prompt_tokens": ids,
                "tokens": generated,
                "text": tokenizer.decode(generated),
                "margin": float(f"{margin:.4g}"),
            }
    raise SystemExit(f"no prompt of the list leads by {GREEDY_MARGIN} at every step")


def choose_columns(tokens, n_vocab):
    often = [token for token, _ in collections.Counter(tokens).most_common(N_COLUMNS // 2)]
    others = np.random.default_rng(1).permutation(n_vocab).tolist()
    rest = [token for token in others if token not in often][: N_COLUMNS - len(often)]
    return sorted(often + rest)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the demo model, a .gguf file")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write")
    parser.add_argument("--text", type=pathlib.Path, default=pathlib.Path("/usr/share/common-licenses/GPL-3"))
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()

    kind, tokenizer = read_tokenizer(arguments.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        arguments.model.parent, gguf_file=arguments.model.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokens = tokenizer.encode(arguments.text.read_text(encoding="utf-8")).ids[: N_TOKENS[kind]]
    assert len(tokens) == N_TOKENS[kind]
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
    columns = choose_columns(tokens, logits.shape[1])
    best = torch.topk(logits, 2, dim=1)
    nll = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(tokens[1:])).item()
    print(f"mean negative log-likelihood of the text: {nll:.4f}")
    assert nll < 4, "the text is not expected by the model: were its weights read right?"

    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokens.json").write_text(json.dumps(tokens) + "\n")
    (out / "columns.json").write_text(json.dumps(columns) + "\n")
    np.save(out / "columns.npy", np.ascontiguousarray(logits[:, columns].numpy()))
    np.save(out / "logsumexp.npy", torch.logsumexp(logits.double(), dim=1).float().numpy())
    np.save(out / "argmax.npy", best.indices[:, 0].to(torch.int32).numpy())
    np.save(out / "gap.npy", np.ascontiguousarray((best.values[:, 0] - best.values[:, 1]).numpy()))
    greedy = choose_greedy(model, tokenizer, {0, 1, 2})
    (out / "greedy.json").write_text(json.dumps(greedy) + "\n")
    print(f"{greedy['prompt']!r} is continued by {greedy['text']!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
