"""What `make lint` must refuse: a misspelt keyword of each room's main verb. mypy reports an ignore that ignores nothing."""

import torch

from lab.datasets import load
from lab.explain import kernelshap
from lab.inductive_bias import required_bits
from lab.losses import comp_sum_loss
from lab.topology import bars, match
from lab.training import fit

match([[0.0]], [[0.0]], filtratoin="superlevel")  # type: ignore[call-arg]
bars([[0.0]], degre=0)  # type: ignore[call-arg]
kernelshap(abs, [[0.0]], drawz=10)  # type: ignore[call-arg]
required_bits([0.0], 0.1, metod="exact")  # type: ignore[call-overload]
comp_sum_loss(torch.zeros(1, 2), torch.zeros(1), tua=1.0)  # type: ignore[call-arg]
load("digits", seeed=0)  # type: ignore[call-arg]
fit(abs, [[0.0]], seedz=2)  # type: ignore[call-arg]
