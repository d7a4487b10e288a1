"""Load time of an engine, which is loaded once for all files of a run."""


def test_load_time(llm, llm_benchmark):
    llm_benchmark.load(llm)
