"""Reports for people, one file each: tables, verdicts, plots."""
