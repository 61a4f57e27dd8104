"""What runs behind the door in the tests of the door."""


def topolosses_names():
    from tests.bench import peers

    return [name for name in dir(peers.topolosses()) if not name.startswith("_")]
