"""Judging a synthetic set by twenty fresh networks at once, against the plain loop over them: make bench."""

import pytest
import torch
import torch.nn.functional as F

from lab.compression.studies.common import task
from lab.compression.synthetic import RATE, STEPS, evaluate, network_for, random_items
from tests.bench import frame


@pytest.mark.bench
def test_twenty_networks_at_once_against_the_loop():
    where = task()
    chosen = where.x[random_items(where.y, 1, (0,))]
    y, test, network = torch.arange(10), (where.test[0][:200], where.test[1][:200]), network_for(where.x, 10)

    def loop():
        found = []
        for seed in range(20):
            model = network(seed)
            optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
            for _ in range(STEPS):
                optimizer.zero_grad()
                F.cross_entropy(model(chosen[0]), y).backward()
                optimizer.step()
            with torch.no_grad():
                found.append((model(test[0]).argmax(1) == test[1]).double().mean())
        return torch.stack(found)

    row = frame.ratio(
        "20 networks on 10 images, 300 steps",
        lambda: evaluate(chosen, y, test, networks=20)[0],
        loop,
        compare=lambda ours, theirs: float((ours - theirs).abs().max()),
        tolerance=0.02,
        peer="torch",
        target=8.0,
        floor=4.0,
        rounds=3,
        least=0.01,
    )
    frame.write("compression", [row])
    print("\n" + frame.show([row]))  # equality was asserted before the timing; speed is shown, not tested
