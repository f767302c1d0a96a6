#!/usr/bin/env python3
"""PyTorch's scaled_dot_product_attention on a fold's attention: one chunk of queries over the whole prefix.

    sdpa.py [--tokens 8192 131072] [--chunks 256 1024] [--heads 32] [--kv-heads 8] [--head-dim 128] [--device cuda]

For every context length and chunk: the last chunk of that text, causal within itself (a lower-right mask), with every backend that
PyTorch will run it by. Prints one JSON object with milliseconds and TFLOP/s, 4 head_dim FLOP for every pair of query and key seen.
"""

import argparse
import json
import statistics
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[8192, 32768, 131072])
    parser.add_argument("--chunks", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()

    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.attention.bias import causal_lower_right

    on_gpu = arguments.device == "cuda"

    def seconds_of(run):
        if not on_gpu:
            begin = time.perf_counter()
            run()
            return time.perf_counter() - begin
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e-3

    backends = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION}
    if not on_gpu:
        backends = {"math": SDPBackend.MATH}
    runs = []
    for n_keys in arguments.tokens:
        for chunk in arguments.chunks:
            if chunk > n_keys:
                continue
            make = lambda heads, rows: torch.randn(1, heads, rows, arguments.head_dim, device=arguments.device, dtype=torch.bfloat16)
            q, k, v = make(arguments.heads, chunk), make(arguments.kv_heads, n_keys), make(arguments.kv_heads, n_keys)
            mask = causal_lower_right(chunk, n_keys)
            pairs = chunk * n_keys - chunk * (chunk - 1) // 2
            flop = 4.0 * arguments.head_dim * arguments.heads * pairs
            for name, backend in backends.items():
                run = lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
                record = {"tokens": n_keys, "chunk": chunk, "backend": name}
                try:
                    with sdpa_kernel(backend), torch.inference_mode():
                        for _ in range(3):
                            seconds_of(run)
                        seconds = statistics.median(seconds_of(run) for _ in range(arguments.repeats))
                    record.update(ms=seconds * 1e3, tflops=flop / seconds * 1e-12)
                except RuntimeError as error:
                    record["refused"] = str(error).splitlines()[0]
                runs.append(record)
    print(json.dumps({"engine": "scaled_dot_product_attention", "torch": torch.__version__, "heads": arguments.heads,
                      "kv_heads": arguments.kv_heads, "head_dim": arguments.head_dim, "runs": runs}))


if __name__ == "__main__":
    main()
