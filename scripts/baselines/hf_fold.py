#!/usr/bin/env python3
"""The paper's own loop: transformers, chunk by chunk, the cache handed on as past_key_values.

    hf_fold.py --config NAME|FOLDER [--tokens 131072] [--chunk 256] [--device cuda] [--dtype bf16] [--repeats 1]

Weights are random (as of `kvfold bench --random-weights`), so that no checkpoint is needed; what they are does not change the time.
NAME is a shipped config. Prints one JSON object: seconds, tokens a second, peak bytes, and decode seconds a token at the end.
"""

import argparse
import json
import pathlib
import statistics
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--tokens", type=int, default=131072)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--attention", default="sdpa", help="attn_implementation of transformers")
    parser.add_argument("--decode-tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()

    import torch
    import transformers

    folder = pathlib.Path(arguments.config)
    if not folder.exists():
        folder = pathlib.Path(__file__).resolve().parents[2] / "models" / "configs" / arguments.config
    config = transformers.AutoConfig.from_pretrained(folder)
    config.max_position_embeddings = max(config.max_position_embeddings, arguments.tokens + arguments.decode_tokens)
    dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[arguments.dtype]
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    with torch.device(arguments.device):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=arguments.attention).eval()
        tokens = torch.randint(0, config.vocab_size, (1, arguments.tokens))
    synchronize = torch.cuda.synchronize if arguments.device == "cuda" else lambda: None

    def step(ids, cache):
        return model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)

    @torch.inference_mode()
    def fold(n_tokens):
        cache = transformers.DynamicCache()
        synchronize()
        begin = time.perf_counter()
        for start in range(0, n_tokens, arguments.chunk):
            out = step(tokens[:, start:min(n_tokens, start + arguments.chunk)], cache)
        synchronize()
        return time.perf_counter() - begin, cache, out

    @torch.inference_mode()
    def decode(cache, out):
        seconds = []
        for _ in range(arguments.decode_tokens):
            begin = time.perf_counter()
            out = step(out.logits[:, -1:].argmax(-1), cache)
            synchronize()
            seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds) if seconds else None

    fold(min(arguments.tokens, 2 * arguments.chunk))  # what is done once is not counted
    if arguments.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    folds = []
    for _ in range(arguments.repeats):
        cache = out = None
        seconds, cache, out = fold(arguments.tokens)
        folds.append(seconds)
    fold_s = statistics.median(folds)
    print(json.dumps({
        "engine": "transformers", "transformers": transformers.__version__, "torch": torch.__version__,
        "attention": arguments.attention, "dtype": arguments.dtype, "tokens": arguments.tokens, "chunk": arguments.chunk,
        "fold_s": fold_s, "folds_s": folds, "tokens_per_s": arguments.tokens / fold_s, "decode_token_s": decode(cache, out),
        "peak_bytes": torch.cuda.max_memory_allocated() if arguments.device == "cuda" else None}))


if __name__ == "__main__":
    main()
