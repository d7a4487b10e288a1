"""py-cpuinfo without the processes that it starts: pytest-benchmark asks it twice a run."""


def get_cpu_info():
    return {"brand_raw": "a processor"}
