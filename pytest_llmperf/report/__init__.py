"""What a person reads: the header line, progress, and the table after the run."""
