"""Measurements by each engine's own tool, paired with ours."""
