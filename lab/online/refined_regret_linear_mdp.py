r"""Policy optimization with bandit feedback in linear-Q processes: log-barrier, magnitude-reduced estimates, dilated bonuses.

After an episode with policy pi_k the loss to go L_h along the way gives, for every pair of the layer,

.. math:: \hat Q(s,a) = x(s,a) L_h, \ \ x(s,a) = \phi(s,a)^\top S\, \phi(s_h, a_h), \ \ S = (\gamma I + E[\phi\phi^\top])^{-1},

which reaches down to -H / gamma. Two remedies: the log-barrier, whose stability costs eta sum_a p_a l_a^2 for losses of any size
and sign; or exponential weights on an estimate with the same mean and a floor of -H / sqrt(gamma),

.. math:: \tilde Q = \hat Q - H\, x_- + H\, E_{\pi_k}[x_-], \qquad x_- = \min(x, 0).

Both subtract a dilated bonus B(s,a) = b(s,a) + (1 + 1/H) E[B(s',a')], b = beta (|phi(s,a)|_S^2 + E_{a'}|phi(s,a')|_S^2), so that
what is uncertain looks cheap. Without a simulator, S comes from the episodes of an epoch, (gamma I + empirical covariance)^-1 of
about 1 / gamma samples in place of the geometric resampling with about 1 / gamma^2, and next values from ridge regression.

Source: Y. Dai, H. Luo, C.-Y. Wei, J. Zimmert, 'Refined regret for adversarial MDPs with linear function approximation', ICML 2023,
sections 3 to 5; dilated bonuses: H. Luo, C.-Y. Wei, C.-W. Lee, NeurIPS 2021, whose K^{2/3} tuning is ``"exponential, K^2/3"``.
The policy cover of the simulator-free algorithm is, here, a first part of the episodes with uniform actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lab import checks
from lab.online.processes import AdversarialMDP, CircleProcess

METHODS = ("log-barrier", "magnitude-reduced", "exponential", "exponential, K^2/3")
CONTROLS = (False, "shuffled")


def log_barrier(losses: torch.Tensor, eta) -> torch.Tensor:
    """argmin_p <p, L> + (1/eta) sum ln(1/p) over the simplex of the last axis: p_a = 1 / (eta (L_a - z)).

    s = min L - z solves 1 / sum_a 1/(L_a - min L + s) = 1 / eta; the left side is concave and increasing in s, so that Newton's
    iteration from s = 1 / eta rises to the root.
    """
    gap = losses - losses.amin(-1, keepdim=True)
    target = 1 / torch.as_tensor(eta, dtype=losses.dtype)
    s = target.expand(gap[..., :1].shape)
    for _ in range(_NEWTON):
        inverse = 1 / (gap + s)
        total = inverse.sum(-1, keepdim=True)
        s = s + (target - 1 / total) * total.square() / inverse.square().sum(-1, keepdim=True)
    p = target / (gap + s)
    return p / p.sum(-1, keepdim=True)


_NEWTON = 12


def exponential(losses: torch.Tensor, eta) -> torch.Tensor:
    """p_a ~ exp(-eta L_a), exponential weights."""
    return torch.softmax(-eta * losses, -1)


def stability(
    losses: torch.Tensor, step: torch.Tensor, eta, policy=log_barrier
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What one step costs: (<p - p', l> - D(p', p), eta sum p l^2, eta sum p^2 l^2) for p at ``losses``, p' at ``losses + step``.

    D is the Bregman divergence of the log-barrier over eta. The first is at most the second for every real l (the lemma); the
    third bounds it only where eta p l stays above -1.
    """
    p, q = policy(losses, eta), policy(losses + step, eta)
    ratio = q / p
    bregman = (ratio - 1 - ratio.log()).sum(-1) / eta.squeeze(-1)
    cost = ((p - q) * step).sum(-1) - bregman
    eta = eta.squeeze(-1)
    return cost, eta * (p * step.square()).sum(-1), eta * (p * step).square().sum(-1)


def inverse_covariance(phi: torch.Tensor, weight: torch.Tensor, gamma) -> torch.Tensor:
    """(gamma I + sum_i w_i phi_i phi_i')^-1 for features (..., items, d) and weights (..., items)."""
    covariance = (phi * weight[..., None]).mT @ phi
    return torch.linalg.inv(covariance + gamma * torch.eye(phi.shape[-1], dtype=phi.dtype))


def geometric_resampling(phi: torch.Tensor, gamma: float, blocks: int, length: int, rate: float = 0.5) -> torch.Tensor:
    """c sum_{n <= N} prod_{m <= n} (I - c (gamma I + phi_m phi_m')), averaged over blocks of N = ``length`` fresh samples.

    The estimate of (gamma I + Sigma)^-1 that the empirical inverse replaces; ``phi`` (blocks * length, d). Matrix geometric
    resampling: G. Neu, J. Olkhovskaya, COLT 2020.
    """
    d = phi.shape[1]
    rows = phi.reshape(blocks, length, d)
    eye = torch.eye(d, dtype=phi.dtype).expand(blocks, d, d)
    product, total = eye, eye.clone()
    for m in range(length):
        factor = (1 - rate * gamma) * eye - rate * rows[:, m, :, None] * rows[:, m, None, :]
        product = product @ factor
        total = total + product
    return rate * total.mean(0)


def estimates(phi, inverse, pairs, taken, togo, horizon: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimates of all pairs from one visit: (Q^, Q~), each (..., pairs).

    Args:
        phi: features of all pairs (..., pairs, d).
        inverse: S (..., d, d).
        pairs: probability of every pair in this layer under the policy (..., pairs).
        taken: features of the visited pair (..., d).
        togo: the loss to go from there (...).
        horizon: H.
    """
    kernel = phi @ inverse
    x = (kernel @ taken[..., None])[..., 0]
    plain = x * togo[..., None]
    floor = ((kernel @ phi.mT).clamp_max(0) @ pairs[..., None])[..., 0]
    return plain, plain - horizon * x.clamp_max(0) + horizon * floor


def dilated_bonus(plain: torch.Tensor, policy: torch.Tensor, transition: torch.Tensor, dilation: float) -> torch.Tensor:
    """B_h = b_h + dilation * E[B_{h+1}], for b (runs, H, S, A), policy likewise, transition (runs, H - 1, S, A, S)."""
    layers = plain.shape[1]
    rows = [plain[:, -1]]
    for h in range(layers - 2, -1, -1):
        value = (policy[:, h + 1] * rows[0]).sum(-1)
        rows.insert(0, plain[:, h] + dilation * torch.einsum("nsat,nt->nsa", transition[:, h], value))
    return torch.stack(rows, 1)


@dataclass(frozen=True, eq=False)
class Learned:
    """What a learner paid: ``regret`` (runs,) over all episodes of each run, ``paid`` (runs, episodes) expected losses (0 after a
    run's end), ``policy`` (runs, H, S, A) at the end, ``least`` (runs,) the least of eta times an estimate, ``sample`` a few."""

    regret: torch.Tensor
    paid: torch.Tensor
    policy: torch.Tensor
    least: torch.Tensor
    sample: torch.Tensor


def rates(
    method: str, episodes: torch.Tensor, eta: float, bonus: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """eta, gamma and beta of every run: eta / sqrt K, 3 / K, bonus / sqrt K.

    ``"exponential, K^2/3"``: eta K^(-2/3), K^(-2/3), bonus K^(-1/3).
    """
    k = episodes.double()
    if method == "exponential, K^2/3":
        return eta * k ** (-2 / 3), k ** (-2 / 3), bonus * k ** (-1 / 3)
    return eta / k.sqrt(), 3 / k, bonus / k.sqrt()


@torch.no_grad()
def learn(
    process: AdversarialMDP,
    method: str = "magnitude-reduced",
    *,
    eta: float = 1.0,
    bonus: float = 0.0,
    seed: int = 0,
    simulator: bool = True,
    control: bool | str = False,
    progress=None,
) -> Learned:
    """All runs of a process by one method, episode by episode, every run in one batch.

    Args:
        method: one of :data:`METHODS`.
        eta, bonus: factors of the step size and of the bonus, see :func:`rates`.
        simulator: covariances and next values from the process itself, as with as many simulated episodes as one likes; ``False``
            learns both from what is seen (log-barrier only), see :func:`learn_free`.
        control: ``"shuffled"`` gives every estimate to the next action.

    Raises:
        ValueError: an unknown method or control, factors that are not positive.
    """
    checks.choice("method", method, METHODS)
    checks.choice("control", control, CONTROLS)
    checks.number("eta", eta, low=0.0, open_low=True)
    checks.number("bonus", bonus, low=0.0)
    if not simulator:
        return learn_free(process, eta=eta, bonus=bonus, seed=seed, control=control)
    runs, layers, states, actions, d = process.features.shape
    step, gamma, beta = (v[:, None, None, None] for v in rates(method, process.episodes, eta, bonus))
    total = process.features.new_zeros(runs, layers, states, actions)
    paid = process.features.new_zeros(runs, int(process.episodes.max()))
    least, kept, final = process.features.new_zeros(runs), [], torch.zeros_like(total)
    barrier, reduced = method == "log-barrier", method == "magnitude-reduced"
    generator = torch.Generator().manual_seed(seed)
    last = paid.shape[1]
    for k in range(last):
        n = int((process.episodes > k).sum())
        policy = (log_barrier if barrier else exponential)(total[:n], step[:n])
        final[:n] = policy
        pairs, loss = process.occupancy(policy)[..., None] * policy, process.loss(k, n)
        paid[:n, k] = (pairs * loss).sum((1, 2, 3))
        phi, flat = process.features[:n].flatten(2, 3), pairs.flatten(2)
        inverse = inverse_covariance(phi, flat, gamma[:n])
        visited, togo = roll(process, policy, loss, generator)
        taken = phi.gather(2, visited[..., None, None].expand(-1, -1, 1, d))[:, :, 0]
        plain, better = estimates(phi, inverse, flat, taken, togo, layers)
        found = (better if reduced else plain).unflatten(2, (states, actions))
        found = found.roll(1, -1) if control == "shuffled" else found
        least[:n] = torch.minimum(least[:n], step[:n, 0, 0, 0] * found.flatten(1).amin(1))
        if k % max(1, last // 100) == 0:
            kept.append((step[:n] * found).flatten()[:200])
        if bonus:
            width = ((phi @ inverse) * phi).sum(-1).unflatten(2, (states, actions))
            width = beta[:n] * (width + (policy * width).sum(-1, keepdim=True))
            found = found - dilated_bonus(width, policy, process.transition[:n], 1 + 1 / layers)
        total[:n] += found
        if progress is not None and k % 50 == 0:
            progress(k, last)
    return Learned(paid.sum(1) - process.best(), paid, final, least, torch.cat(kept))


def roll(process, policy, loss, generator, copies: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """One episode a run: the index s * A + a of the pair visited in each layer, (active, H), and the losses to go, (active, H).

    With ``copies`` both have a further axis after the first.
    """
    active, layers, states, actions = policy.shape
    row = torch.arange(active) if not copies else torch.arange(active)[:, None].expand(-1, copies)
    draws = torch.rand(2, layers + 1, *row.shape, generator=generator, dtype=policy.dtype)
    pick = lambda p, u: (p.cumsum(-1) < u[..., None] * p.sum(-1, keepdim=True)).sum(-1).clamp_max(p.shape[-1] - 1)  # noqa: E731
    s, visited, costs = pick(process.first[row], draws[0, layers]), [], []
    for h in range(layers):
        a = pick(policy[row, h, s], draws[0, h])
        visited.append(s * actions + a)
        costs.append(loss[row, h, s, a])
        if h < layers - 1:
            s = pick(process.transition[row, h, s, a], draws[1, h])
    togo = torch.stack(costs, -1).flip(-1).cumsum(-1).flip(-1)
    return torch.stack(visited, -1), togo


@torch.no_grad()
def learn_free(process, *, eta: float = 1.0, bonus: float = 0.0, seed: int = 0, control: bool | str = False) -> Learned:
    """The log-barrier without a simulator, in epochs of W = K^(1/2) episodes of one policy.

    The first half of an epoch gives S = (2 I / W + empirical covariance)^-1, the second half the estimate, the mean of
    phi' S phi_h L_h; next values of the bonus come from ridge regression on all episodes so far; the first K^(3/4) / 2 episodes are
    played uniformly. All runs need the same number of episodes.
    """
    runs, layers, states, actions, d = process.features.shape
    count = int(process.episodes[0])
    if int(process.episodes.min()) != count:
        raise ValueError("process must give all runs one number of episodes without a simulator; call once for each")
    width = max(4, 2 * round(count**0.5 / 2))
    epochs, warm = -(-count // width), round(0.5 * count**0.75 / width)
    step, beta = eta / epochs**0.5, bonus / epochs**0.5
    generator = torch.Generator().manual_seed(seed)
    phi = process.features.flatten(2, 3)
    total = process.features.new_zeros(runs, layers, states, actions)
    seen = phi.new_zeros(runs, layers, states * actions, states)
    paid, least, kept = phi.new_zeros(runs, epochs * width), phi.new_zeros(runs), []
    eye = torch.eye(d, dtype=phi.dtype)
    for epoch in range(epochs):
        policy = log_barrier(total, step) if epoch >= warm else torch.full_like(total, 1 / actions)
        pairs = process.occupancy(policy)[..., None] * policy
        visits, togos = [], []
        begin = epoch * width
        phases = torch.stack([process.phase(begin + j) for j in range(width)], 1)
        for phase in (0, 1):
            loss = process.losses[:, phase] if process.table is None else process.loss(min(begin, count - 1), runs)
            visited, togo = roll(process, policy, loss, generator, copies=width)
            visits.append(visited)
            togos.append(togo)
            cost = (pairs * loss).sum((1, 2, 3))[:, None]
            paid[:, begin : begin + width] = torch.where(phases == phase, cost, paid[:, begin : begin + width])
        chosen = phases[..., None] == 1
        visited, togo = torch.where(chosen, visits[1], visits[0]).mT, torch.where(chosen, togos[1], togos[0]).mT
        rows = phi.gather(2, visited[..., None].expand(-1, -1, -1, d))
        half = width // 2
        inverse = inverse_covariance(rows[:, :, :half], torch.full_like(togo[..., :half], 1 / half), 2 / width)
        theta = inverse @ (rows[:, :, half:] * togo[:, :, half:, None]).mean(2)[..., None]
        found = (phi @ theta)[..., 0].unflatten(2, (states, actions))
        found = found.roll(1, -1) if control == "shuffled" else found
        least = torch.minimum(least, step * found.flatten(1).amin(1))
        kept.append((step * found).flatten()[:200])
        nexts = torch.zeros(runs, layers, width, states, dtype=phi.dtype)
        nexts[:, :-1].scatter_(3, (visited[:, 1:] // actions)[..., None], 1.0)
        seen.scatter_add_(2, visited[..., None].expand(-1, -1, -1, states), nexts)
        if bonus and epoch >= warm:
            widths = ((phi @ inverse) * phi).sum(-1).unflatten(2, (states, actions))
            widths = beta * (widths + (policy * widths).sum(-1, keepdim=True))
            gram = (phi * seen.sum(-1, keepdim=True)).mT @ phi + eye
            model = (phi @ torch.linalg.solve(gram, phi.mT @ seen))[:, :-1].unflatten(2, (states, actions))
            found = found - dilated_bonus(widths, policy, model, 1 + 1 / layers)
        total = total + found
    paid = paid[:, :count]
    return Learned(paid.sum(1) - process.best(), paid, policy, least, torch.cat(kept))


@torch.no_grad()
def learn_circle(
    seeds: Sequence[int], episodes: int, method: str = "log-barrier", *, eta: float = 1.0, bonus: float = 0.0,
    samples: int = 32, control: bool | str = False,
) -> Learned:  # fmt: skip
    """Continuous states, one run a seed: policies are computed where a state is met, from sums that are quadratic in phi.

    S, next values and the reported expected loss come from ``samples`` simulated episodes of the current policy each episode.
    ``"log-barrier"`` or ``"exponential"``; the magnitude-reduced estimate is no function of such sums and is not offered.
    """
    checks.choice("method", method, ("log-barrier", "exponential"))
    worlds = [CircleProcess.of(seed, episodes) for seed in seeds]
    one, runs = worlds[0], len(worlds)
    layers, d = one.layers, 4
    step, gamma, beta = (float(v) for v in rates(method, torch.tensor(episodes), eta, bonus))
    vectors = torch.stack([w.vectors for w in worlds], 1)
    generator = torch.Generator().manual_seed(seeds[0] + 1)
    line = torch.zeros(runs, layers, d, dtype=torch.float64)
    square = torch.zeros(runs, layers, d, d, dtype=torch.float64)
    rule = log_barrier if method == "log-barrier" else exponential
    paid, least, kept = torch.zeros(runs, episodes, dtype=torch.float64), torch.zeros(runs, dtype=torch.float64), []

    def policy(h, phi):
        return rule((phi @ line[:, h, None, :, None])[..., 0] - ((phi @ square[:, None, h]) * phi).sum(-1), step)

    for k in range(episodes):
        u = vectors[(k // one.period) % 2]
        s = 2 * torch.pi * torch.rand(runs, samples + 1, generator=generator, dtype=torch.float64)
        all_phi, taken, probabilities, costs = [], [], [], []
        for h in range(layers):
            phi = one.features(s)
            p = policy(h, phi)
            a = torch.multinomial(p.flatten(0, 1), 1, generator=generator).unflatten(0, s.shape)
            row = phi.gather(2, a[..., None].expand(-1, -1, 1, d))[:, :, 0]
            all_phi.append(phi)
            taken.append(row)
            probabilities.append(p)
            costs.append(0.5 + 0.5 * 2**0.5 * (row[..., 1:3] * u[:, None, h]).sum(-1))
            s = one.move(row, generator)
        cost = torch.stack(costs, 1)
        paid[:, k] = cost[:, :, 1:].sum(1).mean(1)
        togo = cost[:, :, 0].flip(1).cumsum(1).flip(1)
        ahead = None
        for h in range(layers - 1, -1, -1):
            rows = taken[h][:, 1:]
            inverse = inverse_covariance(rows, torch.full_like(rows[..., 0], 1 / samples), gamma)
            direction = (inverse @ taken[h][:, 0, :, None])[..., 0]
            theta = direction * togo[:, h, None]
            if control == "shuffled":
                theta = theta * torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=theta.dtype)  # the action on the other side
            estimate = step * (all_phi[h][:, 0] @ theta[..., None])[..., 0]
            least = torch.minimum(least, estimate.amin(1))
            kept.append(estimate.flatten())
            line[:, h] += theta
            if bonus:
                width = beta * ((all_phi[h] @ inverse[:, None]) * all_phi[h]).sum(-1)
                values = width + (probabilities[h] * width).sum(-1, keepdim=True)
                if ahead is not None:
                    gram = rows.mT @ rows + torch.eye(d, dtype=rows.dtype)
                    omega = (1 + 1 / layers) * torch.linalg.solve(gram, rows.mT @ ahead[:, 1:, None])[..., 0]
                    line[:, h] -= omega
                    values = values + (all_phi[h] @ omega[:, None, :, None])[..., 0]
                square[:, h] += beta * inverse
                ahead = (probabilities[h] * values).sum(-1)
    best = torch.tensor([w.best(episodes) for w in worlds], dtype=torch.float64)
    return Learned(paid.sum(1) - best, paid, torch.stack(probabilities, 1)[:, :, 0, None], least, torch.cat(kept))
