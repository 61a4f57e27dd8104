"""The rows of a room as parameters: a test file names its room in ``ROOM``."""

from tests.claims import rows


def pytest_generate_tests(metafunc):
    room = getattr(metafunc.module, "ROOM", None)
    if room is None:
        return
    values = {
        "exact_claim": lambda: [claim for claim in rows.rows(room) if claim.statistic == "exact"],
        "sampled_claim": lambda: [claim for claim in rows.rows(room) if claim.statistic != "exact"],
        "function": lambda: rows.functions(room),
        "claims_module": lambda: sorted({function.__module__ for function in rows.functions(room)}),
        "method": lambda: rows.measured_methods(room),
    }
    for name in set(values) & set(metafunc.fixturenames):
        metafunc.parametrize(name, values[name](), ids=rows.name)
