"""Try input that no program would write, and count what becomes of it.

    python tools/try_malformed.py [--count 500] [--seed 1] [--kind KIND] [--show OUTCOME]

The kinds: options, commands, ini lines, markers, calls, stored runs, journals, accepted changes, plans
of ``ab``, GGUF headers, config.json, engines that misbehave. Each input goes to the programs that read
it, in an empty folder, and ends in one of five ways:

- a clear line: the program refuses it, or fails the tests that need it;
- harmless: the program goes on without it, or takes it as what it says;
- a traceback: or lines of this package's code;
- a hang: or a process that is left;
- silently wrong: green where it has to be red, written where nothing may be written, another value used
  without a word.

Prints a line for each input of the last three, and the counts; exits with 1 if these are not 0. Takes
about eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults import engines, stored, typed
from faults.inputs import HANG, OUTCOMES, TRACEBACK, WRONG, Input, Result, tried


def main() -> int:
    """Try, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", help="inputs of one kind only")
    parser.add_argument("--text", default="", help="inputs whose name contains this text")
    parser.add_argument("--show", choices=OUTCOMES, help="print inputs of this outcome as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="malformed-") as folder:
        results = _results(_chosen(options, Path(folder)), options.show)
    counts = Counter((result.input.kind, result.outcome) for result in results)
    kinds = sorted({kind for kind, _ in counts})
    print(f"{'':14}" + "".join(f"{outcome:>15}" for outcome in OUTCOMES))
    for kind in kinds:
        print(f"{kind:14}" + "".join(f"{counts[kind, outcome]:15}" for outcome in OUTCOMES))
    total = Counter(result.outcome for result in results)
    print(f"{len(results):<14}" + "".join(f"{total[outcome]:15}" for outcome in OUTCOMES))
    return 1 if total[TRACEBACK] + total[HANG] + total[WRONG] else 0


def _chosen(options: argparse.Namespace, folder: Path) -> list[Input]:
    """Return as many inputs as asked for, of every kind."""
    chance = random.Random(options.seed)
    templates = folder / "templates"
    templates.mkdir()
    made = stored.Templates(templates)
    inputs = [
        *typed.options(),
        *typed.commands(),
        *typed.ini_lines(),
        *typed.markers(),
        *typed.calls(),
        *stored.runs(made, chance, 80),
        *stored.journals(made, chance, 40),
        *stored.acceptances(made, chance, 24),
        *stored.plans(made, chance, 40),
        *stored.headers(chance, 40),
        *stored.configs(chance, 40),
        *engines.engines(),
    ]
    if options.kind:
        inputs = [given for given in inputs if given.kind == options.kind]
    inputs = [given for given in inputs if options.text in given.text]
    if len(inputs) <= options.count:
        return inputs
    # Kinds with few inputs keep them all; the others give the rest in equal parts.
    by_kind: dict[str, list[Input]] = {}
    for given in inputs:
        by_kind.setdefault(given.kind, []).append(given)
    chosen: list[Input] = []
    waiting = sorted(by_kind.values(), key=len)
    for number, group in enumerate(waiting):
        share = (options.count - len(chosen)) // (len(waiting) - number)
        chosen += chance.sample(group, min(share, len(group)))
    return chosen


def _results(inputs: Sequence[Input], show: str | None) -> list[Result]:
    with ThreadPoolExecutor(2) as pool:
        results = []
        for result in pool.map(_tried, inputs):
            results.append(result)
            if result.outcome in (TRACEBACK, HANG, WRONG, show):
                print(f"{result.outcome}: {result.input.kind}: {result.input.text!r}", flush=True)
                print("    " + ascii(result.detail).replace("\\n", "\n    "), flush=True)
    return results


def _tried(given: Input) -> Result:
    with tempfile.TemporaryDirectory(prefix="malformed-", ignore_cleanup_errors=True) as folder:
        return tried(given, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
