"""Each engine's own way of measuring itself, beside ours."""
