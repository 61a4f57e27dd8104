"""Bad input of every public function: refused before work, in words that name the argument."""

import numpy as np
import pytest
import torch

import lab.kernels as kernels

NAN, INF = float("nan"), float("inf")
Z, Y = torch.randn(6, 4), torch.randint(4, (6,))
X, NETWORK = torch.randn(8, 3), kernels.RandomNetwork(3, (4,))
F = torch.randn(2, 8)


def with_value(x, value):
    x = x.clone()
    x.view(-1)[1] = value
    return x


def of(function, **base):
    return lambda **change: function(**{**base, **change})


ROW = of(kernels.rowloss, logits=Z, target=Y)
PAIR = of(kernels.pairwise, x=X, y=X)
NCE = of(kernels.infonce, a=X, b=X)
HYP = of(kernels.random_hypotheses, network=NETWORK, x=X, target=X[:, 0], count=3)
GRAM = of(kernels.perturb_gram, perturbations=X, outputs=F)
NET = of(kernels.RandomNetwork, features=3)
LAW = of(kernels.Perturbations, law="gaussian", dimension=2)

REFUSED = [
    *[
        (call, name, with_value(x, bad))
        for call, name, x in (
            (ROW, "logits", Z),
            (PAIR, "x", X),
            (PAIR, "y", X),
            (NCE, "a", X),
            (NCE, "b", X),
            (HYP, "x", X),
            (GRAM, "perturbations", X),
            (GRAM, "outputs", F),
        )
        for bad in (NAN, INF, -INF)
    ],
    *[
        (call, name, x.to(torch.complex64))
        for call, name, x in ((ROW, "logits", Z), (PAIR, "x", X), (NCE, "a", X), (HYP, "x", X), (GRAM, "outputs", F))
    ],
    *[
        (call, name, x[:0])
        for call, name, x in (
            (ROW, "logits", Z),
            (PAIR, "x", X),
            (PAIR, "y", X),
            (NCE, "a", X),
            (HYP, "x", X),
            (GRAM, "outputs", F),
        )
    ],
    *[(call, name, x[0]) for call, name, x in ((ROW, "logits", Z), (PAIR, "x", X), (NCE, "a", X), (HYP, "x", X))],
    *[
        (call, name, "text")
        for call, name in (
            (ROW, "logits"),
            (PAIR, "x"),
            (NCE, "a"),
            (HYP, "x"),
            (GRAM, "outputs"),
            (HYP, "network"),
            (ROW, "loss"),
        )
    ],
    (ROW, "logits", Z.long()),
    (ROW, "logits", Z[:, :1]),
    (ROW, "target", Y[:3]),
    (ROW, "target", Y.float()),
    (ROW, "target", with_value(Y, 4)),
    (ROW, "target", with_value(Y, -1)),
    (ROW, "temperature", 0.0),
    (ROW, "temperature", NAN),
    (ROW, "temperature", torch.ones(5)),
    (ROW, "temperature", -torch.ones(6)),
    (ROW, "weight", torch.full((6,), NAN)),
    (ROW, "weight", INF),
    (ROW, "temperature", "warm"),
    (PAIR, "y", X[:, :2]),
    (PAIR, "y", X.double()),
    (PAIR, "values", torch.ones(3)),
    (PAIR, "kernel", "gausian"),
    (PAIR, "reduce", "mean"),
    (PAIR, "lengthscale", 0.0),
    (PAIR, "lengthscale", torch.ones(2)),
    (PAIR, "lengthscale", torch.tensor([1.0, -1.0, 1.0])),
    (PAIR, "values", torch.full((8,), NAN)),
    (NCE, "b", X[:, :2]),
    (NCE, "b", X[:5]),
    (NCE, "temperature", 0.0),
    (NCE, "temperature", torch.tensor(-1.0)),
    (NCE, "temperature", torch.ones(2)),
    (HYP, "x", X[:, :2]),
    (HYP, "target", X[:5, 0]),
    (HYP, "target", None),
    (HYP, "count", 0),
    (HYP, "count", 2.5),
    (HYP, "seed", -1),
    (HYP, "seed", True),
    (HYP, "start", -3),
    (HYP, "measure", "loss"),
    (HYP, "segments", (3, 3)),
    (HYP, "segments", (8, 0)),
    (GRAM, "perturbations", X[:5]),
    (GRAM, "weights", torch.ones(3)),
    (GRAM, "weights", -torch.ones(8)),
    (GRAM, "weights", torch.full((8,), NAN)),
    (GRAM, "seed", 1.5),
    (NET, "features", 0),
    (NET, "widths", (0,)),
    (NET, "widths", 3),
    (NET, "activation", "rely"),
    (NET, "law", "cauchy"),
    (NET, "weight_scale", -1.0),
    (NET, "bias_scale", NAN),
    (LAW, "law", "normal"),
    (LAW, "dimension", 0),
    (LAW, "probability", 1.5),
    (LAW, "scale", INF),
    (LAW, "high", -1.0),
]


@pytest.mark.parametrize(
    ("call", "name", "value"), REFUSED, ids=lambda v: v if isinstance(v, str) else type(v).__name__
)
def test_refusal_names_the_argument(call, name, value):
    with pytest.raises((ValueError, TypeError), match=name.split("_")[0]):
        call(**{name: value})


def test_the_other_objects_refuse_too():
    for broken in (
        lambda: kernels.comp_sum(-1.0),
        lambda: kernels.comp_sum(NAN),
        lambda: kernels.comp_sum(margin=-1),
        lambda: kernels.generalized_cross_entropy(0.0),
        lambda: kernels.generalized_cross_entropy(1.5),
        lambda: kernels.label_distributionally_robust(margin=-1.0),
        lambda: kernels.kl_dro_weights(torch.ones(3), 0.0),
        lambda: kernels.kl_dro_weights(torch.tensor([1.0, NAN]), 1.0),
        lambda: kernels.infonce(X[:1], X[:1]),
        lambda: kernels.Perturbations("mask", 2, probability=0.3, paired=True),
        lambda: kernels.Perturbations("mask", 2).draw(0),
        lambda: NETWORK.parameters(0, -1),
        lambda: NETWORK.parameters("seed", 0),
        lambda: kernels.perturb_gram(X, F.T).solve(),
        lambda: kernels.explain("rowlos"),
        lambda: kernels.explain("rowloss", np.ones(3)),
        lambda: kernels.backend("gpu").__enter__(),
    ):
        with pytest.raises((ValueError, TypeError)):
            broken()


def test_labels_of_several_outputs_must_be_classes():
    network = kernels.RandomNetwork(3, (4,), outputs=2)
    with pytest.raises(TypeError, match="integer classes"):
        kernels.random_hypotheses(network, X, X[:, 0], count=2)
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        kernels.random_hypotheses(network, X, torch.full((8,), 2), count=2)


def test_numpy_is_accepted():
    assert kernels.rowloss(Z.numpy(), Y.numpy()).shape == (6,)
    assert kernels.pairwise(X.numpy(), X.numpy()).shape == (8,)
    assert kernels.random_hypotheses(NETWORK, X.numpy(), X[:, 0].numpy(), count=2).shape == (2,)
    assert kernels.perturb_gram(X.numpy(), F.numpy()).solve().shape == (2, 4)
