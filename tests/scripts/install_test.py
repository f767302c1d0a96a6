"""What `cmake --install` puts where: an executable that runs there, and the configs that it knows by name."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

BUILD = pathlib.Path(sys.argv.pop(1))
CMAKE = sys.argv.pop(1)


class Install(unittest.TestCase):
    def test_the_executable_finds_its_configs(self):
        with tempfile.TemporaryDirectory() as prefix:
            subprocess.run([CMAKE, "--install", BUILD, "--prefix", prefix], check=True, capture_output=True, timeout=60)
            config = pathlib.Path(prefix) / "share/kvfold/configs/llama-3.1-8b/config.json"
            self.assertTrue(config.is_file())
            # A name of its own, so that no other folder of configs can know it.
            config.parent.rename(config.parent.parent / "only-here")
            plan = subprocess.run([pathlib.Path(prefix) / "bin/kvfold", "plan", "--model", "only-here", "--tokens", "4096", "--device-memory", "80GB"],
                                  capture_output=True, text=True, timeout=60, env={**os.environ, "KVFOLD_CONFIG_DIR": ""})
            self.assertEqual(plan.returncode, 0, plan.stderr)


if __name__ == "__main__":
    unittest.main()
