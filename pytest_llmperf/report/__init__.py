"""Reports for people, one file per report."""
