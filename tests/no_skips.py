"""A pytest plugin for CI: a skipped or expectedly failing test fails the run."""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped; deselect it by a marker instead"
    return report
