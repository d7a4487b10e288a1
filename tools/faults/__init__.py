"""Faults on purpose: processes that are killed, and input that no program would write."""
