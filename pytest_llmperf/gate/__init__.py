"""Judge stored runs: records in, verdicts out. Nothing here runs an engine.

What is judged is an entry: one metric of one test. A cell is model x engine x mode, as everywhere else.
"""
