"""``pytest-llmperf tradeoff RUN...``: compare the quantization modes of a model, with a plot."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .common import DONE, Subcommands, add_storage, complain, warn_left_out


def add(commands: Subcommands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "tradeoff",
        help="compare speed, memory and quality of the modes of a model",
        description="Reads stored runs and puts the quantization modes of each model side by side. "
        "Exit code: 0 done, 3 broken input or nothing to compare.",
    )
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="file, folder, glob, run number, commit or run id"
    )
    add_storage(parser)
    parser.add_argument("--markdown", action="store_true", help="print markdown")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="speed against perplexity as .svg, .png or .pdf (one model)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, compare, print, draw."""
    from ..analysis.tradeoff import trade_offs
    from ..report.line import width_of
    from ..report.tradeoff import MISSING_EXTRA, lines, plot
    from ..store import stored
    from ..store.find import records_of

    try:
        records, left_out = records_of(options.runs, options.storage)
    except stored.StoredError as error:
        return complain("tradeoff", str(error))
    warn_left_out(left_out)
    by_model = trade_offs(records)
    if not by_model:
        return complain(
            "tradeoff",
            "no model has two modes with a perplexity: store a run (--benchmark-autosave) of a test "
            "with llm_benchmark.quality(llm) and a speed test, in several modes (--llm-quant=all)",
        )
    if options.markdown:
        print("\n".join(lines(by_model, "github")))
    else:
        print("\n".join(lines(by_model, width=width_of(sys.stdout))))
    if options.plot:
        if len(by_model) > 1:
            names = ", ".join(trade_off.model for trade_off in by_model)
            return complain("tradeoff", f"--plot draws one model, and these runs have {names}")
        try:
            plot(by_model[0], options.plot)
        except ImportError:
            return complain("tradeoff", MISSING_EXTRA)
        except (ValueError, OSError) as error:
            why = getattr(error, "strerror", None) or error
            return complain("tradeoff", f"--plot {options.plot}: {why}")
    return DONE
