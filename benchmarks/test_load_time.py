"""How long an engine takes to be ready; it is loaded once for all files of a run."""


def test_load_time(llm, llm_benchmark):
    llm_benchmark.load(llm)
