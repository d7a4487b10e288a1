"""What a reader of the table has to know about measurements that were made in another way than usual."""

from __future__ import annotations

from collections.abc import Sequence

from ..metrics.ceilings import MOST_BEYOND, REACHED, Roof
from ..store.schema import Record
from .terminal import three_digits


def notes(records: Sequence[Record]) -> list[str]:
    """Return a line for each kind of unusual measurement."""
    lines = []
    floors = [record["floor"] for record in records if "floor" in record]
    if unchecked := sum(floor["check"] == "off" for floor in floors):
        lines.append(
            f"floor off (--llm-floor=off, or the marker llm_floor): the output of {unchecked} of "
            f"{len(records)} measurements was not checked"
        )
    for cell in dict.fromkeys(
        record.get("cell", record["nodeid"])
        for record in records
        if record.get("floor", {}).get("unchecked")
    ):
        lines.append(f"the output of {cell} could not be checked: its log has the error")
    texts = dict.fromkeys(floor["text"]["name"] for floor in floors if "text" in floor)
    if texts:
        lines.append(f"output checked with a text of the project's own: {', '.join(texts)}")
    for cell, other in dict.fromkeys(
        (record.get("cell", record["nodeid"]), record["floor"]["agrees_with"])
        for record in records
        if "agrees_with" in record.get("floor", {})
    ):
        lines.append(
            f"{cell} hardly knows plain English, but {other} predicts it alike: taken as sound"
        )
    if replaced := sum(record["workload"].get("words_as_ids", False) for record in records):
        lines.append(
            f"random weights have no tokenizer: in {replaced} of {len(records)} measurements each word "
            "of the prompt is one arbitrary token id (input_len= sets a number of tokens)"
        )
    return lines + _beaten(records)


def _beaten(records: Sequence[Record]) -> list[str]:
    """Return a line for each ceiling that an engine has raised: a wrong count would do so, too."""
    lines: dict[str, None] = {}
    parts = [record["environment"].get("ceilings") for record in records]
    for roof in [Roof.from_record(part) for part in parts if part]:
        dtype = f"TFLOP/s {roof.dtype}"
        read, matmul = roof.read_bytes_per_s, roof.matmul_flops
        for key, rate, measured, by, size, unit in (
            ("mbu", read, roof.measured_read_bytes_per_s, roof.read_by, 1e9, "GB/s"),
            ("mfu", matmul, roof.measured_matmul_flops, roof.matmul_by, 1e12, dtype),
        ):
            if rate and measured and by.startswith(REACHED):
                times = rate / measured
                lines[
                    f"{key}: {three_digits(rate / size)} {unit} is {by}, {times:.2f} times what was "
                    f"{roof.measured_by}, and so the ceiling{_doubt(times)}"
                ] = None
    return list(lines)


def _doubt(times: float) -> str:
    if times <= MOST_BEYOND:
        return ""
    return " of this run only: is the number of parameters right?"
