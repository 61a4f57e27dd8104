"""Every classification loss in a plain torch loop: rows and pixels, weights, ignored labels, half precision, nothing to do."""

import mpmath
import pytest
import torch
from torch import nn

import lab.losses
from lab import training

NAMES = lab.losses.names()
DOUBLED = ("ensloss",)  # of two classes; its derivatives are drawn


def classes(name):
    return 2 if name in DOUBLED else 4


def batch(name, generator, shape=(6,), dtype=torch.float32):
    z = 2 * torch.randn(shape[0], classes(name), *shape[1:], generator=generator, dtype=torch.float64)
    return z.to(dtype), torch.randint(classes(name), shape, generator=generator)


def value_and_gradient(name, z, y, **arguments):
    z = z.clone().requires_grad_()
    value = lab.losses.by_name(name, **arguments)(z, y)
    value.sum().backward()
    return value.detach(), z.grad


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_line_trains_a_network(name):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(120) % classes(name)
    x = torch.randn(120, 5, generator=generator) + 3 * torch.randn(classes(name), 5, generator=generator)[y]
    model = training.mlp(5, classes(name), widths=(16,), seed=0)
    loss = lab.losses.by_name(name)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(300):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    assert (model(x).argmax(1) == y).double().mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_rows(name, generator):
    z, y = batch(name, generator, (2, 3, 5), torch.float64)
    value, gradient = value_and_gradient(name, z, y)
    rows, row_gradient = value_and_gradient(name, z.movedim(1, -1).reshape(-1, z.shape[1]), y.reshape(-1))
    torch.testing.assert_close(value, rows)
    torch.testing.assert_close(gradient.movedim(1, -1).reshape(-1, z.shape[1]), row_gradient)
    assert value_and_gradient(name, z, y, reduction="none")[0].shape == y.shape


@pytest.mark.parametrize("name", NAMES)
def test_ignored_rows_change_nothing(name, generator):
    z, y = batch(name, generator, (7,), torch.float64)
    ignored = torch.cat([y, torch.tensor([-100, -100])])
    longer = torch.cat([z, 50 * torch.ones(2, z.shape[1], dtype=z.dtype)])
    value, gradient = value_and_gradient(name, z, y)
    same, longer_gradient = value_and_gradient(name, longer, ignored)
    torch.testing.assert_close(same, value)
    torch.testing.assert_close(longer_gradient[:7], gradient)
    assert (longer_gradient[7:] == 0).all()
    assert (value_and_gradient(name, longer, ignored, reduction="none")[0][7:] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_class_weights_multiply_rows_and_the_mean_divides_by_their_sum(name, generator):
    z, y = batch(name, generator, (9,), torch.float64)
    weight = torch.tensor([0.5, 2.0, 0.0, 1.0], dtype=torch.float64)[: classes(name)]
    rows, _ = value_and_gradient(name, z, y, reduction="none")
    weighted, _ = value_and_gradient(name, z, y, weight=weight, reduction="none")
    torch.testing.assert_close(weighted, weight[y] * rows)
    mean, _ = value_and_gradient(name, z, y, weight=weight)
    torch.testing.assert_close(mean, weighted.sum() / weight[y].sum())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near_double(name, dtype, generator):
    z, y = batch(name, generator, (2, 40, 40), dtype)
    if name == "sum-exponential" and dtype == torch.float16:
        with pytest.raises(TypeError, match="float16 overflow for tau < 1"):
            lab.losses.by_name(name)(z, y)
        return
    y[:, 0] = -100
    value, gradient = value_and_gradient(name, z, y)
    exact, _ = value_and_gradient(name, z.double(), y)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    assert torch.isfinite(gradient).all()
    if name not in DOUBLED:  # single and double precision order margins alike, but not the ties of half precision
        assert value.item() == pytest.approx(exact.item(), rel=2e-2, abs=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_give_zero_and_labels_out_of_range_are_refused(name, generator):
    z, y = batch(name, generator)
    assert value_and_gradient(name, z[:0], y[:0])[0] == 0
    value, gradient = value_and_gradient(name, z, torch.full_like(y, -100))
    assert value == 0 and (gradient == 0).all()
    with pytest.raises(ValueError, match=r"target must lie in \[0, "):
        lab.losses.by_name(name)(z, y + 7)
    with pytest.raises(ValueError, match="logits must be finite"):
        lab.losses.by_name(name)(z.fill_(float("nan")), y)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DOUBLED])
def test_gradient_agrees_with_finite_differences(name, generator):
    z, y = batch(name, generator, (2, 3), torch.float64)
    arguments = {"normalize": "none"} if name.startswith("aldr-kl") else {}
    loss = lab.losses.by_name(name, **arguments)
    # the temperature of the adaptive loss is held constant and is stationary, so that the derivative is still the whole one
    assert torch.autograd.gradcheck(lambda s: loss(s, y), z.requires_grad_(), atol=1e-6)


def test_baselines_equal_their_formulas_in_forty_digits(generator):
    z, y = batch("focal", generator, (5,), torch.float64)
    found = {
        name: lab.losses.by_name(name, reduction="none")(z, y).tolist()
        for name in ("symmetric-cross-entropy", "focal", "label-smoothing", "multi-margin")
    }
    with mpmath.workdps(40):
        for i, (row, label) in enumerate(zip(z.tolist(), y.tolist())):
            weights = [mpmath.exp(mpmath.mpf(s)) for s in row]
            p = [w / mpmath.fsum(weights) for w in weights]
            own, others = p[label], [q for k, q in enumerate(p) if k != label]
            exact = {
                "symmetric-cross-entropy": -mpmath.mpf("0.1") * mpmath.log(own) + 4 * mpmath.fsum(others),
                "focal": -((1 - own) ** 2) * mpmath.log(own),
                "label-smoothing": -mpmath.mpf("0.9") * mpmath.log(own) - mpmath.mpf("0.025") * mpmath.fsum(map(mpmath.log, p)),
                "multi-margin": mpmath.fsum(
                    max(mpmath.mpf(0), 1 - mpmath.mpf(row[label]) + s) for k, s in enumerate(row) if k != label
                ) / 4,
            }  # fmt: skip
            for name, value in exact.items():
                assert found[name][i] == pytest.approx(float(value), rel=1e-12)


def test_two_of_the_baselines_are_those_of_torch(generator):
    z, y = batch("focal", generator, (8,), torch.float64)
    torch.testing.assert_close(lab.losses.by_name("multi-margin")(z, y), nn.functional.multi_margin_loss(z, y))
    torch.testing.assert_close(
        lab.losses.by_name("label-smoothing")(z, y), nn.functional.cross_entropy(z, y, label_smoothing=0.1)
    )


def test_stored_temperatures_refuse_places_outside_the_training_set(generator):
    z, y = batch("aldr-kl", generator)
    loss = lab.losses.by_name("aldr-kl", num_samples=4)
    with pytest.raises(ValueError, match=r"index must lie in \[0, 4\)"):
        loss(z, y, torch.arange(6))
    with pytest.raises(ValueError, match="index must have shape"):
        loss(z, y, torch.arange(3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1e3, 1e6, 1e30])
def test_extreme_scores_give_finite_values_and_gradients(name, size):
    z = size * torch.eye(classes(name))[[1, 0, 0]]
    value, gradient = value_and_gradient(name, z, torch.tensor([0, 1, 0]))
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


def test_rows_drawn_back_keep_direction_and_their_neighbours(generator):
    z, y = batch("sum-exponential", generator, (6,), torch.float64)
    far = z.clone()
    far[0, (y[0] + 1) % 4] += 2000.0
    value, gradient = value_and_gradient("sum-exponential", far, y, reduction="none")
    plain, plain_gradient = value_and_gradient("sum-exponential", z, y, reduction="none")
    torch.testing.assert_close(value[1:], plain[1:])
    torch.testing.assert_close(gradient[1:], plain_gradient[1:])
    assert float(value[0]) > 1e300
    others = [k for k in range(4) if k != int(y[0])]
    assert gradient[0, y[0]] < 0 < gradient[0, (y[0] + 1) % 4] and (gradient[0, others] >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_the_wrong_kind_are_refused_in_words(name, generator):
    z, y = batch(name, generator)
    loss = lab.losses.by_name(name)
    with pytest.raises(TypeError, match="logits must hold floating-point values"):
        loss(z.long(), y)
    with pytest.raises(TypeError, match="logits must be real"):
        loss(z.to(torch.complex64), y)
    with pytest.raises(ValueError, match="target must have shape"):
        loss(z, y[:3])
    assert float(loss(z.numpy(), y.numpy())) == pytest.approx(float(lab.losses.by_name(name)(z, y)))


FUNCTIONS = {
    "comp_sum_loss": ("comp-sum", {}), "ldr_kl_loss": ("ldr-kl", {"normalize": "softplus-mean"}),
    "aldr_kl_loss": ("aldr-kl", {}), "ens_loss": ("ensloss", {}), "focal_loss": ("focal", {}),
    "label_smoothing_loss": ("label-smoothing", {}), "multi_margin_loss": ("multi-margin", {}),
    "symmetric_cross_entropy_loss": ("symmetric-cross-entropy", {}),
}  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_function_beside_the_module_is_the_same(function, reduction, generator):
    name, arguments = FUNCTIONS[function]
    z, y = batch(name, generator, (5, 3))
    y[0, 0] = 9
    options = {"weight": torch.tensor([0.5, 2.0, 1.0, 3.0])[: classes(name)], "ignore_index": 9, "reduction": reduction}
    expected = lab.losses.by_name(name, **options)(z, y)
    torch.testing.assert_close(getattr(lab.losses, function)(z, y, **arguments, **options), expected)
