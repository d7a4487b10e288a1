"""llama.cpp's port answers nobody else while its engine is measured."""

TEST = """
    import json
    import os
    import urllib.error
    import urllib.request
    from pathlib import Path

    OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ports_of(pid):
        links = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]
        sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        listening = "0A"
        return [int(r[1].partition(":")[2], 16) for r in rows if r[3] == listening and r[9] in sockets]

    def status(port, route, body, **headers):
        headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}{route}", data, headers)
        try:
            with OPENER.open(request) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def test_port(llm):
        before = llm.generate("Hello", output_len=4)
        ports = ports_of(llm.engine().pid)
        assert ports
        refused = 401
        for port in ports:
            for route, body in (
                ("/completion", {"prompt": "a b c", "n_predict": 1}),
                ("/tokenize", {"content": "a"}),
                ("/v1/models", None),
                ("/props", None),
            ):
                assert status(port, route, body) == refused
                assert status(port, route, body, Authorization="Bearer guess") == refused
        assert llm.generate("Hello", output_len=4) == before
"""


def test_the_port_refuses_whoever_does_not_have_the_key(pytester):
    pytester.makepyfile(TEST)
    pytester.runpytest_subprocess("--llm-backend=llama-cpp").assert_outcomes(passed=1)


def test_a_key_of_ones_own_is_used_instead(pytester):
    pytester.makepyfile("""
        def test_text(llm):
            assert llm.generate("Hello", output_len=4)
    """)
    run = pytester.runpytest_subprocess(
        "--llm-backend=llama-cpp", '--llm-backend-arg=llama-cpp.api_keys=["of my own"]'
    )
    run.assert_outcomes(passed=1)
