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

    # Numbers that another start left in the environment, without a launcher that is there.
    LEFT_BEHIND = [{"OMPI_COMM_WORLD_RANK": "1"}, {"PMIX_RANK": "1"}, {"PMI_RANK": "1"},
                   {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "1"},
                   {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
                   {"PMI_RANK": "3", "PMI_SIZE": "4"},
                   {"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_FD": "999"},
                   {"PMIX_RANK": "2", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"},
                   {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "1",
                    "PMIX_SERVER_URI2": "1.0;tcp4://127.0.0.1:1", "PMIX_SERVER_TMPDIR": "/no/such/folder"}]

    def test_a_rank_number_left_behind_silences_nobody(self):
        for variables in self.LEFT_BEHIND:
            environment = ["env", *(f"{name}={value}" for name, value in variables.items())]
            with self.subTest(variables=variables):
                for command in (["tokenize", "--model", "nowhere", "--text", "hi"], ["plan", "--bogus"],
                                ["score", "--model", "nowhere", "--tokens", "x"]):
                    self.assert_refused(start([*environment, KVFOLD, *command]))
                self.assertIn("Usage", start([*environment, KVFOLD, "--help"]).stdout)
        for command in (["run", "--bogus"], ["bench", "--model", LLAMA, "--tokens", "none"]):
            self.assert_refused(start([*environment, KVFOLD, *command]))

    def test_a_lone_process_says_that_its_environment_speaks_of_others(self):
        tokens = self.write("t.json", "[1, 2, 3]")
        for variables, words in [({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, ["OMPI_COMM_WORLD_SIZE", "2"]),
                                 ({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"},
                                  ["srun", "4 copies", "mpirun"])]:
            with self.subTest(variables=variables):
                result = start(["env", *(f"{name}={value}" for name, value in variables.items()), KVFOLD, "score", "--model",
                                LLAMA, "--tokens", tokens, "--json"])
                self.assert_done(result)
                self.assertEqual(self.assert_json(result)["ranks"], 1)
                (warning,) = [line for line in result.stderr.splitlines() if "one rank of one" in line]
                for word in words:
                    self.assertIn(word, warning)
        # An allocation's shell, and a step of one task, are alone by right.
        for variables in ({"SLURM_NTASKS": "4"}, {"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "4"},
                          {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"}):
            result = start(["env", *(f"{name}={value}" for name, value in variables.items()), KVFOLD, "score", "--model",
                            LLAMA, "--tokens", tokens])
            self.assert_done(result)
            self.assertNotIn("one rank of one", result.stderr)

    def test_commands_without_ranks_speak_once_under_mpirun(self):
        self.assert_refused(kvfold("plan", "--model", "nowhere", ranks=3), "nowhere")
        self.assert_refused(kvfold("plan", "--model", "nowhere", "--bogus", ranks=2), "--bogus")

    def test_a_program_that_a_rank_has_started_speaks(self):
        # Its environment is all of the rank's, and the launcher is there: but it is alone.
        result = self.start_wrapper('[ "$RANK" = 0 ] || "$KVFOLD" "$@"; exec sleep 2', "plan", "--model", "nowhere", ranks=2)
        self.assertEqual(len(result.sentences), 1, str(result))
        self.assertIn("nowhere", result.sentences[0])

    def test_a_start_that_does_not_come_together_ends(self):
        tokens = self.write("t.json", "[1, 2, 3]")
        result = self.start_wrapper('[ "$RANK" = 1 ] && exec sleep 100; exec "$KVFOLD" "$@"', "score", "--model", LLAMA,
                                    "--tokens", tokens, "--step-timeout", 3, ranks=2)
        self.assert_refused(result, "did not come together within 20 s", "rank 0", "MPI_Init", "--step-timeout", code=1, within_s=40.0)

    def test_option_that_one_rank_cannot_parse(self):
        result = self.start_wrapper('exec "$KVFOLD" score --chunk $((1 - RANK)) "$@"', "--model", LLAMA, "--tokens", "x",
                                    ranks=2)
        self.assert_refused(result, "rank 1", "--chunk")

    def test_device_that_is_not_here(self):
        tokens = LLAMA + "/reference/tokens.json"
        self.assert_refused(kvfold("score", "--model", LLAMA, "--tokens", tokens, "--device", "cuda"), "cuda", "--device cpu")

    def test_standard_output_that_is_full(self):
        result = start(["sh", "-c", f"'{KVFOLD}' info > /dev/full"])
        self.assert_refused(result, "standard output", code=1)


if __name__ == "__main__":
    main()
