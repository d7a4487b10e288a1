"""``pytest-llmperf fit RUN...``: show from stored runs which modes fit a GPU."""

from __future__ import annotations

import argparse

from ..core.values import card_size
from .common import DONE, Subcommands, add_storage, argument, complain, warn_left_out


def add(commands: Subcommands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "fit",
        help="show which modes of a model fit a GPU of a size",
        description="Reads stored runs and compares what each mode needs with a GPU's memory. Exit "
        "code: 0 done, 3 broken input or nothing measured.",
    )
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="file, folder, glob, run number, commit or run id"
    )
    parser.add_argument(
        "--size",
        type=argument(card_size),
        required=True,
        metavar="SIZE",
        help="memory of the GPU, e.g. 16GiB",
    )
    add_storage(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, compare, print."""
    from ..analysis.fit import measured_cells, needs
    from ..report.fit import fit_lines
    from ..store.find import records_of
    from ..store.stored import StoredError

    try:
        records, left_out = records_of(options.runs, options.storage)
    except StoredError as error:
        return complain("fit", str(error))
    warn_left_out(left_out)
    cells = measured_cells(records)
    if not cells:
        return complain("fit", "no stored test has measured rounds")
    print("\n".join(fit_lines(needs(cells), options.size)))
    return DONE
