"""Test programs whose long cases run apart: every case must run in exactly one of the two entries.

    long_cases_test.py [PROGRAM LONG_FILTER]...

CTest runs `PROGRAM --gtest_filter=-LONG_FILTER` and, with the label `long`, `PROGRAM --gtest_filter=LONG_FILTER`.
"""

import os
import subprocess
import sys


def cases(program, *options):
    listed = subprocess.run([program, "--gtest_list_tests", *options], stdout=subprocess.PIPE, text=True,
                            check=True).stdout
    found, suite = [], ""
    for line in listed.splitlines():
        name = line.split("#")[0].rstrip()
        if name.startswith("  "):
            found.append(suite + name.strip())
        elif name.endswith("."):
            suite = name
    return found


def main(arguments):
    os.environ.pop("GTEST_FILTER", None)
    for program, long_filter in zip(arguments[::2], arguments[1::2]):
        name = os.path.basename(program)
        everything = cases(program)
        short = cases(program, f"--gtest_filter=-{long_filter}")
        long = cases(program, f"--gtest_filter={long_filter}")
        if sorted(short + long) != sorted(everything):
            sys.exit(f"{name}: {len(short)} short and {len(long)} long cases are not the {len(everything)} it has")
        if not short or not long:
            sys.exit(f"{name}: '{long_filter}' leaves one of its entries without a case")
        print(f"{name}: {len(short)} short and {len(long)} long cases")


main(sys.argv[1:])
