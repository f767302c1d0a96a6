"""Wrong usage: exit code 2, one sentence on standard error, nothing on standard output."""

from launcher_case import KVFOLD, LLAMA, LauncherCase, kvfold, main, start


class Usage(LauncherCase):
    def test_without_a_command(self):
        self.assert_refused(kvfold(), "command")

    def test_unknown_command_is_named(self):
        self.assert_refused(kvfold("fold"), "fold", "kvfold --help")

    def test_unknown_option_is_named(self):
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "a", "--bogus"), "--bogus", "kvfold run --help")

    def test_option_out_of_range(self):
        for option, value in [("--chunk", 0), ("--chunk", -1), ("--threads", 0), ("--max-tokens", 0),
                              ("--max-new-tokens", 0), ("--concurrency", 0), ("--chunk", "many"), ("--dtype", "f64"),
                              ("--chunk", "99999999999999999999"), ("--threads", 99999999999),
                              ("--step-timeout", -1), ("--step-timeout", "99999999999999999999"),
                              ("--seed", -1), ("--seed", "18446744073709551616"), ("--seed", "1e3"), ("--seed", "0x10"),
                              ("--top-k", -2), ("--top-k", "9223372036854775808"), ("--top-k", "4.0"),
                              ("--max-new-tokens", "1e3"), ("--max-tokens", "1_000"), ("--concurrency", "2 "),
                              ("--temperature", -1), ("--temperature", "nan"), ("--temperature", "inf"),
                              ("--temperature", "1e999"), ("--temperature", "0,7"), ("--temperature", "0x1p3"),
                              ("--temperature", ""), ("--top-p", 3), ("--top-p", 0), ("--top-p", "1e-999"),
                              ("--kv-dtype", "fp8"), ("--attention", "half"), ("--device", "tpu"),
                              ("--log-level", "loud")]:
            with self.subTest(option=option, value=value):
                self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "a", option, value), option)

    def test_numbers_are_told_with_their_range(self):
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "a", "--seed=-1"), "--seed", '"-1"',
                            "from 0 to 18446744073709551615")
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "a", "--threads", 5000), "--threads", "from 1 to 4096")
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "a", "--top-p", 2), "--top-p", "at most 1")
        for option in ("--tokens", "--chunk"):  # lists
            for value in ("64,99999999999999999999", "64,x", "64,-1"):
                with self.subTest(option=option, value=value):
                    self.assert_refused(kvfold("bench", "--model", LLAMA, option, value), option)
        for option in ("--repeats", "--decode-tokens", "--pretend-ranks"):
            self.assert_refused(kvfold("bench", "--model", LLAMA, option, "4294967297"), option)
        for option in ("--ranks", "--tokens"):
            self.assert_refused(kvfold("plan", "--model", LLAMA, option, "18446744073709551617"), option)

    def test_numbers_at_the_edge_of_their_range(self):
        prompts = self.write_lines("in.jsonl", [{"id": "a", "tokens": [1, 2], "max_new_tokens": 2}])
        for arguments in (["--seed", "18446744073709551615"], ["--top-k", "9223372036854775807"], ["--temperature", "1e-300"],
                          ["--top-p", "1e-300"], ["--temperature", "1.7e308"], ["--step-timeout", "0"], ["--seed", "+5"]):
            with self.subTest(arguments=arguments):
                output = self.path("-".join(arguments) + ".jsonl")
                self.assert_done(kvfold("run", "--model", LLAMA, "--prompts", prompts, "--output", output, *arguments))

    def test_options_that_exclude_each_other(self):
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "a", "--prompts", "b", "--output", "c"),
                            "--prompt", "--prompts")
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "a", "--prompt-file", "b"), "--prompt-file")
        self.assert_refused(kvfold("score", "--model", LLAMA, "--text", "a", "--tokens", "b"), "--text", "--tokens")
        self.assert_refused(kvfold("tokenize", "--model", LLAMA, "--text", "a", "--file", "b"), "--text", "--file")

    def test_options_that_need_each_other(self):
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompts", "a"), "--output")
        self.assert_refused(kvfold("run", "--model", LLAMA, "--prompt", "a", "--output", "b"), "--prompts")

    def test_options_that_a_command_would_ignore_are_refused(self):
        tokens = LLAMA + "/reference/tokens.json"
        run, score = ("run", "--model", LLAMA, "--prompt", "a"), ("score", "--model", LLAMA, "--tokens", tokens)
        plan, bench = ("plan", "--model", LLAMA), ("bench", "--model", LLAMA)
        for command, *ignored in [
                (plan, "--max-tokens", 9), (plan, "--transport", "staged"), (plan, "--share-devices"),
                (plan, "--step-timeout", 9), (plan, "--prompt", "a"), (plan, "--device", "cuda", "--threads", 2),
                (bench, "--attention", "full"), (bench, "--max-tokens", 9), (bench, "--prompt", "a"),
                (bench, "--pretend-ranks", 2, "--step-timeout", 9), (bench, "--pretend-ranks", 2, "--share-devices"),
                (("info",), "--model", LLAMA), (("info",), "--log-level", "warn"), (("info",), "--threads", 2),
                (("tokenize", "--model", LLAMA, "--text", "a"), "--json"),
                (("tokenize", "--model", LLAMA, "--text", "a"), "--chunk", 4),
                (run, "--concurrency", 2), (run, "--tokens", tokens), (score, "--max-new-tokens", 2),
                (run, "--device", "cpu", "--share-devices"), (score, "--device", "cpu", "--share-devices")]:
            with self.subTest(command=command[0], ignored=ignored):
                self.assert_refused(kvfold(*command, *ignored), next(o for o in reversed(ignored) if str(o).startswith("--")))

    def test_nothing_to_do(self):
        self.assert_refused(kvfold("run", "--model", LLAMA), "--prompt")
        self.assert_refused(kvfold("score", "--model", LLAMA), "--text", "--tokens")
        self.assert_refused(kvfold("tokenize", "--model", LLAMA), "--text", "--file")
        for command in ("run", "score", "plan", "tokenize"):
            self.assert_refused(kvfold(command), "--model")

    def test_help_and_version(self):
        for command in ([], ["run"], ["score"], ["plan"], ["tokenize"], ["info"]):
            result = kvfold(*command, "--help")
            self.assert_done(result)
            self.assertIn("--help", result.stdout)
            self.assertEqual(result.stderr, "")
            self.assertLess(max(map(len, result.stdout.splitlines())), 120)
        result = kvfold("--version")
        self.assert_done(result)
        self.assertRegex(result.stdout, r"^\d+\.\d+\.\d+\n$")

    def test_under_mpirun_one_rank_speaks(self):
        self.assert_refused(kvfold("run", "--model", LLAMA, "--bogus", ranks=3), "--bogus")
        result = kvfold("--help", ranks=3)
        self.assert_done(result)
        self.assertEqual(result.stdout.count("Usage"), 1)

    def test_option_that_one_rank_cannot_parse(self):
        result = self.start_wrapper('exec "$KVFOLD" score --chunk $((1 - RANK)) "$@"', "--model", LLAMA, "--tokens", "x",
                                    ranks=2)
        self.assert_refused(result, "rank 1", "--chunk")

    def test_ranks_that_are_asked_for_different_things(self):
        for option, others in (("--tokens", "32 64"), ("--decode-tokens", "1 2"), ("--repeats", "1 2"), ("--chunk", "8 16")):
            with self.subTest(option=option):
                zero, one = others.split()
                result = self.start_wrapper(f'exec "$KVFOLD" bench {option} $([ $RANK = 0 ] && echo {zero} || echo {one}) "$@"',
                                            "--model", LLAMA, ranks=2)
                self.assert_refused(result, f"rank 1 has {option} {one}, rank 0 has {zero}")

    def test_device_that_is_not_here(self):
        tokens = LLAMA + "/reference/tokens.json"
        self.assert_refused(kvfold("score", "--model", LLAMA, "--tokens", tokens, "--device", "cuda"), "cuda", "--device cpu")

    def test_standard_output_that_is_full(self):
        result = start(["sh", "-c", f"'{KVFOLD}' info > /dev/full"])
        self.assert_refused(result, "standard output", code=1)


if __name__ == "__main__":
    main()
