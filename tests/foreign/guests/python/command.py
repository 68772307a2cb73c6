"""The program of every toolchain, in Python on its standard library: see README.md."""

import os
import sys

from wit_world import exports


def cat():
    # No `shutil.copyfileobj`: if a host accepts only a part of a write, it loses the
    # rest.
    while piece := sys.stdin.buffer.read(65536):
        sys.stdout.buffer.write(piece)


def large_print():
    print("x" * 200_000)


def words():
    words = sys.stdin.read().split()
    print(f"{len(words)} words, {len(set(words))} different")


def lines(count):
    for i in range(int(count)):
        print(f"line {i}")


def prompt():
    print("name? ", end="", flush=True)
    print("hello", sys.stdin.readline(), end="")


def given(*arguments):
    for argument in arguments:
        print(f"argument {argument}")
    print("greeting", os.environ.get("GREETING", ""))


class Run(exports.Run):
    def run(self):
        mode, *arguments = sys.argv[1:]
        modes = {"cat": cat, "words": words, "lines": lines, "prompt": prompt}
        modes |= {"large-print": large_print, "given": given, "exit": lambda code: sys.exit(int(code))}
        modes[mode](*arguments)
        sys.stdout.flush()
