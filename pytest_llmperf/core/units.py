"""Units of memory. Every memory metric is in MiB."""

from __future__ import annotations

MIB = 2**20
"""Bytes."""
