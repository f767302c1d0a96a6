"""What launchers leave in the environment: who speaks, who is warned, and ranks that never come."""

from launcher_case import KVFOLD, LLAMA, LauncherCase, kvfold, long, main, start


class Environment(LauncherCase):
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
        result = self.start_wrapper('[ "$RANK" = 0 ] || "$KVFOLD" "$@"; exec sleep 5', "plan", "--model", "nowhere", ranks=2)
        self.assertEqual(len(result.sentences), 1, str(result))
        self.assertIn("nowhere", result.sentences[0])

    @long
    def test_a_start_that_does_not_come_together_ends(self):
        tokens = self.write("t.json", "[1, 2, 3]")
        result = self.start_wrapper('[ "$RANK" = 1 ] && exec sleep 100; exec "$KVFOLD" "$@"', "score", "--model", LLAMA,
                                    "--tokens", tokens, "--step-timeout", 3, ranks=2)
        self.assert_refused(result, "did not come together within 20 s", "rank 0", "MPI_Init", "--step-timeout", code=1, within_s=40.0)


if __name__ == "__main__":
    main()
