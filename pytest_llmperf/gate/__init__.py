"""The gate: stored runs in, verdicts out. Nothing here runs an engine or loads one."""
