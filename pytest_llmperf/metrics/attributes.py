"""The metrics as typed attributes, for type checkers and editors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .samples import Metric


class MetricAttributes:
    """Declares one attribute per metric of the registry.

    ``python tools/make_docs.py`` writes them. They exist for type checkers only, so that a misspelled
    metric is an error before a test runs; at run time ``Result.__getattr__`` answers.
    """

    if TYPE_CHECKING:
        # <metrics>
        ttft: Metric
        """Time to first token (s); one sample per request."""
        e2e: Metric
        """End-to-end latency (s); one sample per request."""
        tpot: Metric
        """Time per output token (s); one sample per request."""
        itl: Metric
        """Inter-token latency (s); one sample per gap."""
        icl: Metric
        """Inter-chunk latency (s); one sample per gap."""
        tokens_per_step: Metric
        """Tokens per step (tokens); one sample per request."""
        output_throughput: Metric
        """Output throughput (tokens/s); one sample per round."""
        output_throughput_per_request: Metric
        """Output throughput per request (tokens/s); one sample per request."""
        total_throughput: Metric
        """Total throughput (tokens/s); one sample per round."""
        request_throughput: Metric
        """Request throughput (requests/s); one sample per round."""
        prefill_throughput: Metric
        """Prefill throughput (tokens/s); one sample per round."""
        decode_throughput: Metric
        """Decode throughput (tokens/s); one sample per round."""
        goodput: Metric
        """Goodput (requests/s); one sample per round."""
        load_time: Metric
        """Load time (s); one sample per process."""
        peak_memory: Metric
        """Peak memory (MiB); one sample per measurement."""
        model_memory: Metric
        """Model memory (MiB); one sample per process."""
        kv_cache_memory: Metric
        """Key-value pool (MiB); one sample per process."""
        perplexity: Metric
        """Perplexity; one sample per measurement."""
        kl_divergence: Metric
        """KL divergence (nats/token); one sample per measurement."""
        top1_agreement: Metric
        """Top-1 agreement (share); one sample per measurement."""
        mbu: Metric
        """Model bandwidth utilization (share); one sample per round."""
        mfu: Metric
        """Model FLOP utilization (share); one sample per round."""
        energy_per_output_token: Metric
        """Energy per output token (J/token); one sample per measurement."""
        energy_per_token: Metric
        """Energy per token (J/token); one sample per measurement."""
        cost_per_million_tokens: Metric
        """Cost (per 1M tokens); one sample per round."""
        # </metrics>
