"""Rewrite the sections of this repository that are generated from its registries.

    python tools/make_docs.py            # rewrite
    python tools/make_docs.py --check    # change nothing; exit code 1 if a section is out of step

A section stands between two markers, ``<!-- NAME -->`` and ``<!-- /NAME -->`` in markdown,
``# <NAME>`` and ``# </NAME>`` in Python. To add one, write a function that returns its lines, add a row
to SECTIONS, and put the markers into the file. A file without the markers is left as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from options_table import options_table  # noqa: E402
from record_schema import record_schema_lines  # noqa: E402

from pytest_llmperf.metrics.definitions import METRICS, MetricDefinition  # noqa: E402


def metrics_table() -> list[str]:
    """Return the markdown table of all metrics."""
    return [
        "| metric | key | unit | better | samples | definition |",
        "|---|---|---|---|---|---|",
        *(_metric_row(definition) for definition in METRICS.values()),
    ]


def _metric_row(metric: MetricDefinition) -> str:
    link = f" ([{metric.page}](../{metric.page}))" if metric.page else ""
    cells = (
        metric.name,
        f"`{metric.key}`",
        metric.unit or "-",
        metric.better,
        f"one per {metric.per}",
        metric.meaning + link,
    )
    return f"| {' | '.join(cells)} |"


def metric_attributes() -> list[str]:
    """Return the declarations of the metrics as attributes."""
    lines = []
    for metric in METRICS.values():
        name = metric.name[0].upper() + metric.name[1:]
        unit = f" ({metric.unit})" if metric.unit else ""
        lines += [
            f"        {metric.key}: Metric",
            f'        """{name}{unit}; one sample per {metric.per}."""',
        ]
    return lines


@dataclass(frozen=True)
class Section:
    """A generated section of a file."""

    path: str
    """Path of the file, relative to the repository's root."""
    name: str
    """Name in the section's markers; empty for the whole file."""
    lines: Callable[[], list[str]]

    @property
    def label(self) -> str:
        """The section's name in messages."""
        return f"section {self.name}" if self.name else "the file"

    def of(self, text: str) -> str:
        """Return a file's text with this section made anew; unchanged if it has no markers."""
        if not self.name:
            return "\n".join([*self.lines(), ""])
        markdown = self.path.endswith(".md")
        begin, end = (
            (f"<!-- {self.name} -->", f"<!-- /{self.name} -->")
            if markdown
            else (f"# <{self.name}>", f"# </{self.name}>")
        )
        before, marker, rest = text.partition(begin + "\n")
        _, closing, after = rest.partition(end)
        if not marker or not closing:
            return text
        indent = "" if markdown else before[before.rfind("\n") + 1 :]
        return "\n".join([before + begin, *self.lines(), indent + end + after])


SECTIONS = (
    Section("docs/reference/metrics.md", "metrics", metrics_table),
    Section("docs/reference/options.md", "options", options_table),
    Section("docs/reference/record.schema.json", "", record_schema_lines),
    Section("pytest_llmperf/metrics/attributes.py", "metrics", metric_attributes),
)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Rewrite or check all sections; return the exit code."""
    parser = argparse.ArgumentParser(
        description="Rewrite the generated sections of this repository."
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 on a difference"
    )
    check = parser.parse_args(arguments).check
    stale = 0
    for section in SECTIONS:
        path = root / section.path
        text = path.read_text() if path.exists() else ""
        made = section.of(text)
        if made == text:
            continue
        stale += 1
        if check:
            print(f"{section.path}: {section.label} is out of step; run tools/make_docs.py")
        else:
            path.write_text(made)
            print(f"{section.path}: {section.label} rewritten")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
