"""Pytest hooks and fixtures, nothing else. Importing this loads no engine and no numerical library.

The work of the hooks is in modules that are imported when the first test asks for a model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from .backends import BUILT_IN, fixture_doc, fixture_name
from .core.printable import printable
from .session.fixtures import LLM as LLM_FIXTURE
from .session.fixtures import mark_items, own_fixtures

if TYPE_CHECKING:
    from .session.benchmark import LLMBenchmark
    from .session.demand import Demand
    from .session.llm import LLM
    from .session.options import Settings
    from .session.session import LLMSession
    from .session.sizes import Override

_SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
_SESSION: pytest.StashKey[LLMSession] = pytest.StashKey()
_DEMAND: pytest.StashKey[Demand] = pytest.StashKey()
"""Set in the controller of pytest-xdist, whose workers run the tests."""
_MARKERS = (
    "llm(model=, backend=, quant=): the cells of a test; the command line narrows them. Every test that "
    "uses llm has the marker",
    "llm_gate(min_effect=, must_see=): the gate's limits for a test",
    "llm_rounds(precision=, max_time=, min_rounds=) or llm_rounds(rounds=): the rounds of a test",
    "llm_sizes(small=, full=): the sizes of a test by suite, as if it were parametrized with them",
    "llm_floor(text=) or llm_floor('off'): how the output of a test's engine is checked",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    from .session.options import add_options

    add_options(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser
) -> Iterator[None]:
    try:
        result = yield
        parser.parse_known_args([])  # Before pytest 9, two options of one name meet here.
    except (ValueError, argparse.ArgumentError) as error:
        from .session.options import refuse_double

        refuse_double(error, early_config)
        raise
    return result


def pytest_configure(config: pytest.Config) -> None:
    from .session.options import Settings
    from .session.other_engines import OtherEngines

    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    # Read now, so that a mistake ends the run before anything is collected.
    settings = config.stash[_SETTINGS] = Settings.from_config(config)
    engines = OtherEngines(config.pluginmanager, _engine_fixture)
    config.pluginmanager.register(engines)
    lists = ("showfixtures", "show_fixtures_per_test")
    if settings.given or any(config.getoption(option, False) for option in lists):
        engines.register_fixtures()
    if settings.given:
        _start(config)


def _start(config: pytest.Config) -> LLMSession:
    """Return the run's LLMSession, made for the first test that needs it."""
    if _SESSION not in config.stash:
        from .session.session import LLMSession

        session = LLMSession(config, config.stash[_SETTINGS])
        session.plan.check_requested()
        config.stash[_SESSION] = session
    return config.stash[_SESSION]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Iterator[None]:
    if own_fixtures(metafunc.definition):
        from .session.collect import is_ours, parametrized
        from .session.sizes import override_sizes
        from .session.suite import parametrize_sizes

        if is_ours(metafunc):
            session = _start(metafunc.config)
            with parametrized(metafunc, session):
                parametrize_sizes(metafunc, session.settings)
                override_sizes(metafunc, session.settings)
                return (yield)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mark_items(items)
    if _SESSION in config.stash:
        from .session.collect import prepare_items, select_items

        config.stash[_SESSION].demand.collected(items)
        select_items(items, config, config.stash[_SESSION])
        prepare_items(items, config, config.stash[_SESSION])
        config.stash[_SESSION].floor.check_markers(items)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    # After -k and -m: a run that is left with no test of ours needs no baseline. Before the terminal,
    # which asks for lines of its own here.
    config = session.config
    if _SESSION in config.stash:
        from .session.collect import (
            keep_engines_together,
            note_selected,
            refuse_same_names,
            require_baseline,
        )
        from .session.demand import TOLD
        from .session.targets import check_targets

        keep_engines_together(session.items, config)
        refuse_same_names(session.items, config.stash[_SETTINGS].metrics)
        note_selected(session.items, config.stash[_SESSION])
        require_baseline(session.items, config, config.stash[_SESSION])
        check_targets(session.items, config, config.stash[_SESSION])
        if hasattr(config, "workeroutput"):
            config.workeroutput[TOLD] = config.stash[_SESSION].demand.as_told()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear what a worker of pytest-xdist has collected: its controller collects nothing."""
    from .session.demand import TOLD, Demand

    stash = node.config.stash
    if told := getattr(node, "workeroutput", {}).get(TOLD):
        if _SESSION not in stash and _DEMAND not in stash:
            stash[_DEMAND] = Demand(stash[_SETTINGS], node.config)
        demand = stash[_SESSION].demand if _SESSION in stash else stash[_DEMAND]
        demand.hear(told)


def pytest_report_collectionfinish(
    config: pytest.Config, items: Sequence[pytest.Item]
) -> list[str] | None:
    if _SESSION not in config.stash:
        return None
    from .session.summary import header, notes

    session = config.stash[_SESSION]
    ids = [
        item.callspec.params.get(LLM_FIXTURE)
        for item in items
        if hasattr(item, "callspec") and LLM_FIXTURE in own_fixtures(item)
    ]
    cells = session.plan.known(ids)
    return [header(session, cells), *notes(session, items, cells)] if cells else None


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    if _SESSION in item.config.stash:
        from .session.collect import refuse_unfit

        refuse_unfit(item)
    yield
    # After the fixtures: an engine that could not be loaded, or died since, fails this test only.
    if _SESSION in item.config.stash and LLM_FIXTURE in own_fixtures(item):
        item.config.stash[_SESSION].loading.require()


@pytest.fixture(scope="session")
def llm(request: pytest.FixtureRequest) -> Iterator[LLM]:
    """A loaded model: one of the cells that --llm-model, --llm-backend and --llm-quant choose."""
    cell_id = getattr(request, "param", None)
    if cell_id is None:
        from .session.collect import why_no_cell

        pytest.fail(why_no_cell(request), pytrace=False)
    session = _start(request.config)
    session.check_process()
    yield session.loading.open(cell_id)
    session.loading.close()


def _engine_fixture(backend: str) -> Any:
    """Return the fixture that is named after a backend: ``vllm_llm``."""

    def engine_llm(llm: LLM) -> LLM:
        return llm

    engine_llm.__doc__ = fixture_doc(backend)
    return pytest.fixture(scope="session", name=fixture_name(backend))(engine_llm)


# pytest finds fixtures among a plugin's names. Those of other packages' engines: session.other_engines.
globals().update({fixture_name(backend): _engine_fixture(backend) for backend in BUILT_IN})


@pytest.fixture
def llm_workload_override(request: pytest.FixtureRequest) -> Override:
    """Work that the command line sets (--llm-prompts, --llm-input-len, --llm-output-len, ...)."""
    from .session.sizes import Override

    override: Override = getattr(request, "param", None) or Override()
    return override


@pytest.fixture
def llm_benchmark(
    request: pytest.FixtureRequest, benchmark: Any, llm_workload_override: Override
) -> Iterator[LLMBenchmark]:
    """Measure latency and throughput: llm_benchmark(llm, input_len=128, output_len=64)."""
    from .session.benchmark import LLMBenchmark

    session = _start(request.config)
    measuring = LLMBenchmark(session, request.node, benchmark, llm_workload_override)
    yield measuring
    measuring.end()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    if _SESSION in config.stash:
        config.stash[_SESSION].store.update_json(output_json)
        if gate := config.stash[_SESSION].gate:
            gate.mark(output_json)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_benchmark_group_stats(
    config: pytest.Config, benchmarks: list[dict[str, Any]], group_by: str
) -> Generator[None, Any, Any]:
    """Leave entries of this plugin out of pytest-benchmark's tables; an error there costs no results."""
    if _SESSION not in config.stash or not config.stash[_SESSION].results.records:
        return (yield)
    stock = config.stash[_SESSION].store.stock
    stock.keep_ours_out(benchmarks)
    try:
        return (yield)
    except Exception as error:
        stock.grouping_failed(error, group_by)
        return []


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    # First: a run that is killed between being stored and the end of its journal would be recovered.
    # pytest-benchmark saves in a wrapper around this hook: when it fails, this is never called.
    stash = session.config.stash
    status = int(exitstatus)
    if _SESSION in stash:
        status = stash[_SESSION].finish(status)
    if _DEMAND in stash and status == pytest.ExitCode.OK and stash[_DEMAND].unmet():
        status = pytest.ExitCode.USAGE_ERROR
    # A worker of pytest-xdist leaves the judgement to its controller.
    if status != exitstatus and not hasattr(session.config, "workerinput"):
        session.exitstatus = status


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    # First, because a regression that pytest-benchmark finds there ends the summaries after it.
    if _DEMAND in config.stash and (unmet := config.stash[_DEMAND].unmet()):
        terminalreporter.write_line(f"ERROR: {unmet}")
    if _SESSION not in config.stash:
        return
    from .report.line import width_of
    from .session.summary import sections

    session = config.stash[_SESSION]
    for section in sections(session, width_of(terminalreporter._tw._file)):
        if section.title:
            terminalreporter.section(section.title)
        for line in section.lines:
            terminalreporter.write_line(line.text, **{line.color: True} if line.color else {})


def pytest_unconfigure(config: pytest.Config) -> None:
    if _SESSION in config.stash:
        session = config.stash[_SESSION]
        session.loading.close()
        # Not done yet without a terminal, or if an error has ended the run before its summary.
        if kept := session.settle_journal():
            print(printable(kept), file=sys.stderr)
