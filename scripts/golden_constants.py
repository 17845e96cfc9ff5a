#!/usr/bin/env python3
"""Every number that a test expects because it was computed independently, computed anew. Needs Python alone.

    scripts/golden_constants.py            prints each number and the file that holds it
    scripts/golden_constants.py --check    compares them with the files

The check fails where a file lacks a number, and where it holds a number of six decimals or more that is neither
computed here nor listed below with its source. A number in a file counts if it is one of these, rounded.
"""
import re
import sys
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from constants import closed_forms, preferences, tree  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
LITERAL = re.compile(r"(?<![\w.])\d[\d_]*\.[\d_]+")
# Where a file gives fewer decimals than this, what is computed says how many.
DECIMALS = 6


def computed():
    """Of each file, its numbers and how many decimals of each it must have."""
    found = {}
    for module in (tree, closed_forms, preferences):
        for file, numbers in module.constants():
            pairs = [number if isinstance(number, tuple) else (number, DECIMALS) for number in numbers]
            found.setdefault(file, []).extend(pairs)
    return found


def decimals(literal):
    return -literal.as_tuple().exponent


def literals(file):
    """The numbers of a Rust file, as they are written."""
    words = LITERAL.findall((ROOT / file).read_text())
    return [Decimal(word.replace("_", "").removesuffix(".")) for word in words]


def is_rounded(literal, number):
    """Whether a literal is a number, its sign aside, rounded to its last digit."""
    last = Decimal(1).scaleb(-decimals(literal))
    return abs(abs(Decimal(number)) - literal) <= last * Decimal("0.51") + Decimal("1e-12")


def check(found):
    faults = []
    for file, numbers in found.items():
        there = literals(file)
        for number, least in numbers:
            # What has few digits, such as 0.7 or 25, is no number that needed computing.
            plain = abs(number - round(number, min(least, 5) - 1)) < 1e-9
            named = any(decimals(x) >= least and is_rounded(x, number) for x in there)
            if not plain and not named:
                faults.append(f"{file} has no {number:.10f}")
        for literal in there:
            known = any(is_rounded(literal, number) for number, _ in numbers)
            if decimals(literal) >= DECIMALS and not known:
                faults.append(f"{file} has {literal}, which is not computed here")
    return faults


def main():
    found = computed()
    if sys.argv[1:] == ["--check"]:
        faults = check(found)
        print("\n".join(faults), end="\n" if faults else "")
        count = sum(len(numbers) for numbers in found.values())
        print(f"{count} numbers in {len(found)} files, {len(faults)} faults")
        sys.exit(bool(faults))
    for file, numbers in found.items():
        for number, _ in numbers:
            print(f"{file}  {number:.10f}")


main()
