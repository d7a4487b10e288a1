"""Checked by mypy in ``make lint``, never run: a metric is typed, a misspelled one is an error.

mypy reports a ``type: ignore`` that is not needed, so the second function fails the check if the
misspelling passes.
"""

from pytest_llmperf import Metric, Result


def a_metric_has_percentiles(result: Result) -> float:
    metric: Metric = result.output_throughput
    return metric.p50 + result.ttft.p95


def a_misspelled_metric_is_an_error(result: Result) -> object:
    return result.tfft  # type: ignore[attr-defined]
