"""What a reader of the table has to know about measurements that were made in another way than usual."""

from __future__ import annotations

from collections.abc import Sequence

from ..store.schema import Record


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
    return lines
