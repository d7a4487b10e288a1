"""Threads of one test share an engine, and each gets its own answer."""

THREADS = """
    import random
    import time
    from concurrent.futures import ThreadPoolExecutor

    PROMPTS = [f"prompt number {i}" for i in range(100)]

    def answer(llm, prompt):
        return llm.generate(prompt, output_len=2)

    def test_answers(llm, monkeypatch):
        alone = [answer(llm, prompt) for prompt in PROMPTS]
        pause_after_each_question(llm, monkeypatch)
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda prompt: answer(llm, prompt), PROMPTS))
        assert together == alone

    def pause_after_each_question(llm, monkeypatch):
        # Where the operating system might stop a thread: a rare case becomes a certain one.
        channel = getattr(llm._slot._worker, "_channel", None)
        if channel is not None:
            send = channel.send

            def paused(question):
                send(question)
                time.sleep(random.uniform(0, 0.003))

            monkeypatch.setattr(channel, "send", paused)
"""
BESIDE = """
    import threading

    def test_beside(llm, llm_benchmark):
        stop = threading.Event()
        problems = []

        def chat():
            while not stop.is_set():
                text = llm.generate("hello", output_len=2)
                if len(text) != 2:
                    problems.append(text)

        thread = threading.Thread(target=chat)
        thread.start()
        try:
            result = llm_benchmark(llm, input_len=8, output_len=8, rounds=20, warmup=2)
        finally:
            stop.set()
            thread.join()
        assert result.ttft.n == 20
        assert not problems
"""
DEAD = """
    import os
    import signal
    from concurrent.futures import ThreadPoolExecutor

    def test_dead(llm):
        pid = llm.engine().pid
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with ThreadPoolExecutor(8) as pool:
            engines = list(pool.map(lambda _: llm.engine().number, range(8)))
        assert engines == [2] * 8
"""


def test_each_thread_gets_the_answer_to_its_own_prompt(pytester, llm_pytest):
    pytester.makepyfile(THREADS)
    llm_pytest(ttft=0.001, tpot=0).assert_outcomes(passed=1)


def test_without_isolation_too(pytester, llm_pytest):
    pytester.makepyfile(THREADS)
    llm_pytest("--llm-isolation=none", ttft=0.001, tpot=0).assert_outcomes(passed=1)


def test_a_thread_that_asks_beside_a_measurement_waits_for_its_turn(pytester, llm_pytest):
    pytester.makepyfile(BESIDE)
    llm_pytest(ttft=0.001, tpot=0.0001).assert_outcomes(passed=1)


def test_threads_that_find_the_engine_dead_load_it_once(pytester, llm_pytest):
    pytester.makepyfile(DEAD)
    llm_pytest(load_time=0.3).assert_outcomes(passed=1)
