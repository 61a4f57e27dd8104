"""One cast for every room: each public function answers alike for every dtype and memory layout, or refuses in words."""

import numpy as np
import pytest
import torch

from lab import checks, compression, datasets, explain, search, topology, training
from lab.inductive_bias import Task

DRAW = np.random.default_rng(0)
LEVELS = DRAW.permutation(np.arange(90) % 101).reshape(9, 10).astype(float)  # whole numbers from 0 to 89
MASK = (LEVELS > 40).astype(float)
SOFT = torch.from_numpy(LEVELS / 90)
ROWS = DRAW.integers(0, 50, (12, 4)).astype(float)
CLASSES = (np.arange(12) % 3).astype(float)
BOX = DRAW.permutation(60).reshape(3, 4, 5).astype(float)


def numbers(found) -> torch.Tensor:
    """What a function returned as one row of float64 numbers."""
    if hasattr(found, "to_frame"):
        found = found.to_frame().select_dtypes("number").to_numpy()
    if isinstance(found, (tuple, list)):
        return torch.cat([numbers(each) for each in found]) if found else torch.zeros(0, dtype=torch.float64)
    return (
        torch.as_tensor(np.array(found, dtype=float) if not isinstance(found, torch.Tensor) else found)
        .double()
        .reshape(-1)
    )


def model(x):
    return (torch.as_tensor(x).double() * torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)).sum(-1).square()


def network():
    return search.Supernet(search.Space("s2", 4, 2, width=4))


IMAGES = {
    "topology.match": lambda x: topology.match(x, LEVELS[::-1].copy()),
    "topology.match, label": lambda x: topology.match(LEVELS[::-1].copy(), x),
    "topology.match_batch": lambda x: topology.match_batch([x], [LEVELS[::-1].copy()])[0],
    "topology.barcode": lambda x: topology.barcode(x),
    "topology.Image": lambda x: topology.bars(topology.Image(x), 0).points,
}
MASKS = {
    "topology.matching_error": lambda x: topology.matching_error(x, 1 - MASK).error,
    "topology.matching_error, label": lambda x: topology.matching_error(1 - MASK, x).error,
    "topology.companions": lambda x: list(vars(topology.companions(x, 1 - MASK)).values()),
    "topology.BettiMatchingMetric": lambda x: metric(x),
    "topology.BettiMatchingLoss, target": lambda x: topology.BettiMatchingLoss()(SOFT[None, None], batched(x)),
    "datasets.pair": lambda x: (datasets.pair(x, x).prediction, datasets.pair(x, x).label),
    "datasets.dice": lambda x: datasets.dice(x, MASK[::-1].copy()),
}
TABLES = {
    "search.Supernet": lambda x: network()(network().initialize([0, 1]), torch.ones(2, 3, 2), x),
    "search.Split": lambda x: search.Split.of(x, CLASSES, train=4, validation=4).train,
    "explain.kernelshap": lambda x: explain.kernelshap(model, x, baseline=0, n_samples=200, seed=0).weights,
    "explain.lime": lambda x: explain.lime(model, x, baseline=0, n_samples=100, seed=0).weights,
    "explain.occlusion": lambda x: explain.occlusion(model, x, baseline=0).weights,
    "explain.integrated_gradients": lambda x: explain.integrated_gradients(model, x, baseline=0).weights,
    "explain.gradients": lambda x: explain.gradients(model, x).weights,
    "explain.gradient_x_input": lambda x: explain.gradient_x_input(model, x).weights,
    "explain.smoothgrad": lambda x: explain.smoothgrad(model, x, sigma=0.1, n_samples=20, seed=0).weights,
    "inductive_bias.Task": lambda x: Task((x, CLASSES), (ROWS[:4], CLASSES[:4])).train_inputs,
    "inductive_bias.Task.split": lambda x: Task.split(x, CLASSES, standardize=True, seed=0).train_inputs,
    "datasets.Points": lambda x: datasets.Points(x, CLASSES).x,
    "compression.condense": lambda x: compression.condense(x, CLASSES.astype(int), 1, outer=1, inner=1).images,
    "compression.condense_by_trajectories": lambda x: (
        compression.condense_by_trajectories(
            x, CLASSES.astype(int), 1, experts=1, epochs=2, iterations=1, steps=2, latest=1
        ).images
    ),
    "topology.Rips": lambda x: topology.bars(topology.Rips(x), 0).points,
    "topology.density": lambda x: topology.density(x, 5.0),
    "topology.codensity": lambda x: topology.codensity(x, 5.0),
    "topology.distance_to_measure": lambda x: topology.distance_to_measure(x, 3),
    "training.accuracy": lambda x: training.accuracy(x, torch.arange(12) % 4, logits=True),
    "training.negative_log_likelihood": lambda x: training.negative_log_likelihood(
        x, torch.arange(12) % 4, logits=True
    ),
}
CASES = [
    *((name, call, LEVELS) for name, call in IMAGES.items()),
    *((name, call, MASK) for name, call in MASKS.items()),
    *((name, call, ROWS) for name, call in TABLES.items()),
    ("topology.match, volume", lambda x: topology.match(x, BOX[::-1].copy()), BOX),
    ("topology.barcode, volume", topology.barcode, BOX),
]
GRADIENTS = (
    "topology.Rips",
    "topology.Image",
    "topology.density",
    "topology.codensity",
    "topology.distance_to_measure",
)
# with arrays f is called on arrays, which carry no gradient
NOISE = ("explain.gradients", "explain.gradient_x_input", "explain.smoothgrad", "explain.integrated_gradients")
DTYPES = [
    np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64,
    np.longdouble, ">i4", ">f4", ">f8", ">u2",
]  # fmt: skip


def batched(x):
    return x[None, None]


def metric(x):
    found = topology.BettiMatchingMetric()
    found.update(batched(x), batched(1 - MASK))
    return found.compute().to_numpy()


def padded(x):
    wide = np.zeros([2 * size for size in x.shape], x.dtype)
    wide[tuple(slice(None, None, 2) for _ in x.shape)] = x
    return wide[tuple(slice(None, None, 2) for _ in x.shape)]


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "negative strides": lambda x: np.ascontiguousarray(x[::-1, ..., ::-1])[::-1, ..., ::-1],
    "every other": padded,
    "read-only": frozen,
    "masked array without a mask": lambda x: np.ma.array(x),
    "tensor": torch.from_numpy,
    "transposed tensor": lambda x: (
        torch.from_numpy(np.ascontiguousarray(x.T)).T if x.ndim == 2 else torch.from_numpy(x)
    ),
    "strided tensor": lambda x: torch.from_numpy(padded(x)),
}


@pytest.mark.parametrize("name, call, values", CASES, ids=[case[0] for case in CASES])
def test_every_dtype_and_layout_gives_the_same_answer(name, call, values):
    wanted = numbers(call(torch.from_numpy(values.copy())))
    assert len(wanted)
    for dtype in DTYPES if name not in NOISE else ():
        given = values.astype(dtype)
        np.testing.assert_allclose(
            numbers(call(given)), wanted, rtol=2e-3, atol=1e-3, err_msg=f"{name}, {np.dtype(dtype)}"
        )
        assert np.array_equal(given.astype(float), values), f"{name} changed its argument"
    for layout, made in LAYOUTS.items():
        if name in NOISE and not isinstance(made(values), torch.Tensor):
            continue
        np.testing.assert_allclose(
            numbers(call(made(values))), wanted, rtol=1e-9, atol=1e-12, err_msg=f"{name}, {layout}"
        )
    if name in NOISE:
        return
    if name in GRADIENTS:
        with pytest.raises(TypeError, match="floating-point values, got torch.int64; call .float"):
            call(torch.from_numpy(values).long())
        return
    for dtype in (torch.uint16, torch.uint32, torch.uint64, torch.bfloat16, torch.float16, torch.int64):
        given = torch.from_numpy(values).to(dtype)
        np.testing.assert_allclose(numbers(call(given)), wanted, rtol=2e-2, atol=1e-2, err_msg=f"{name}, {dtype}")


REFUSED = {
    "masked": (lambda x: np.ma.masked_greater(x, x.max() - 1), "masked values"),
    "beyond 2^53": (lambda x: x.astype(np.int64) + 2**60, "beyond 2"),
    "unsigned beyond 2^63": (lambda x: x.astype(np.uint64) + np.uint64(2**63), "beyond 2"),
    "complex": (lambda x: x.astype(complex), "real"),
    "words": (lambda x: x.astype(str), "numbers"),
    "objects": (lambda x: x.astype(object), "numbers"),
    "sparse": (lambda x: torch.from_numpy(x).to_sparse(), "dense"),
    "dates": (lambda x: x.astype("datetime64[s]"), "numbers"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name, call, values", CASES, ids=[case[0] for case in CASES])
def test_what_cannot_be_kept_is_refused_in_words(name, call, values, kind):
    made, words = REFUSED[kind]
    with pytest.raises((ValueError, TypeError), match=words):
        call(made(values))


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_tensors_keep_their_values(dtype):
    top = {torch.uint16: 2**16 - 1, torch.uint32: 2**32 - 1, torch.uint64: 2**53}[dtype]
    given = torch.tensor([0, 7, top]).to(dtype)
    assert checks.tensor("x", given).tolist() == [0, 7, top]
    assert checks.tensor("x", given.numpy()).tolist() == [0, 7, top]


def test_neighbours_beyond_double_precision_do_not_become_one():
    image = np.array([[2**53 + 1, 2**53, 0], [0, 0, 0], [5, 5, 5]])
    with pytest.raises(ValueError, match="prediction holds integers beyond 2"):
        topology.match(image, image)
    exact = np.array([[2**53, 2**53 - 1, 0], [0, 0, 2**53 - 2], [5, 5, 5]])
    assert len(topology.match(exact, exact).to_frame()) > 0


def test_frame_of_numbers_is_taken_and_one_of_words_refused_by_column():
    import pandas as pd

    frame = pd.DataFrame(ROWS, columns=list("abcd"))
    np.testing.assert_array_equal(checks.tensor("x", frame), ROWS)
    with pytest.raises(TypeError, match="columns 'e' hold no numbers"):
        checks.tensor("x", frame.assign(e="word"))


def test_gradient_reaches_a_tensor_of_any_layout():
    x = torch.from_numpy(LEVELS / 90).T.contiguous().T.requires_grad_()
    topology.match(x, MASK).loss().backward()
    y = torch.from_numpy(LEVELS / 90).requires_grad_()
    topology.match(y, MASK).loss().backward()
    assert torch.equal(x.grad, y.grad)
    assert float(x.grad.abs().sum()) > 0
