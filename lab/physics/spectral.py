r"""Fields on a periodic square in Fourier space: derivatives, Stokes flow, a stepper of second order. Differentiable.

>>> box = Periodic(16, 2.0)
>>> x, y = box.points()
>>> f = torch.sin(torch.pi * x)
>>> bool(torch.allclose(box.laplacian(f), -torch.pi**2 * f, atol=1e-9))
True
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from lab import checks

LARGEST = 1e4  # of a Fourier mode: what is larger has blown up


class Periodic:
    """A square of side ``length`` with n x n points; fields are (..., n, n), real or complex, the last axis is y."""

    def __init__(self, n: int, length: float, dtype: torch.dtype = torch.float64):
        self.n = checks.integer("n", n, low=4)
        self.length = checks.number("length", length, low=0.0, open_low=True)
        k = 2 * torch.pi * torch.fft.fftfreq(n, length / n, dtype=torch.float64)
        # the highest frequency of an even grid has no odd derivative
        odd = torch.where(torch.arange(n) == n // 2, 0.0, k) if n % 2 == 0 else k
        self.kx, self.ky = (each.to(dtype) for each in torch.meshgrid(odd, odd, indexing="ij"))
        kx, ky = torch.meshgrid(k, k, indexing="ij")
        self.k2 = (kx**2 + ky**2).to(dtype)
        index = torch.fft.fftfreq(n, 1 / n).abs()
        keep = index < n / 3
        self.keep = (keep[:, None] & keep[None, :]).to(dtype)

    def points(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Coordinates x and y, each (n, n)."""
        axis = torch.arange(self.n, dtype=torch.float64) * self.length / self.n
        x, y = torch.meshgrid(axis, axis, indexing="ij")
        return x, y

    def transform(self, field: torch.Tensor) -> torch.Tensor:
        """Fourier coefficients."""
        return torch.fft.fft2(field)

    def field(self, coefficients: torch.Tensor, real: bool = False) -> torch.Tensor:
        """The field of Fourier coefficients."""
        found = torch.fft.ifft2(coefficients)
        return found.real if real else found

    def gradient(self, field: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Derivatives in x and y."""
        f, real = self.transform(field), not field.is_complex()
        return self.field(1j * self.kx * f, real), self.field(1j * self.ky * f, real)

    def laplacian(self, field: torch.Tensor) -> torch.Tensor:
        """The sum of second derivatives."""
        return self.field(-self.k2 * self.transform(field), not field.is_complex())

    def dealias(self, field: torch.Tensor) -> torch.Tensor:
        """The field without the upper third of its frequencies, where products of two fields wrap around."""
        return self.field(self.keep * self.transform(field), not field.is_complex())

    def stokes(self, stress: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Flow of -Lap u + grad Pi = div Sigma, div u = 0, mean 0, for a traceless symmetric Sigma.

        Args:
            stress: Sigma_xx + i Sigma_xy, (..., n, n).

        Returns:
            u, v, vorticity v_x - u_y, and the strain rate E_xx + i E_xy.
        """
        xx, xy = self.transform(stress.real), self.transform(stress.imag)
        fx, fy = 1j * (self.kx * xx + self.ky * xy), 1j * (self.kx * xy - self.ky * xx)
        k2 = self.kx**2 + self.ky**2
        inverse = torch.where(k2 > 0, 1 / torch.where(k2 > 0, k2, 1.0), 0.0)
        along = (self.kx * fx + self.ky * fy) * inverse
        u, v = (fx - self.kx * along) * inverse, (fy - self.ky * along) * inverse
        ux, uy, vx = 1j * self.kx * u, 1j * self.ky * u, 1j * self.kx * v
        fields = self.field(torch.stack([u, v, vx - uy, ux, (uy + vx) / 2]), True)
        return fields[0], fields[1], fields[2], torch.complex(fields[3], fields[4])


def imex(
    nonlinear: Callable[[torch.Tensor], torch.Tensor],
    linear: torch.Tensor,
    box: Periodic,
    state: torch.Tensor,
    dt: float,
    steps: int,
    every: int = 1,
    *,
    lost: torch.Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """y' = nonlinear(y) + L y by the second-order backward difference formula, L implicit, the rest extrapolated (SBDF2).

    Args:
        linear: the eigenvalues of L at the Fourier coefficients, broadcast over ``state`` (..., n, n).
        lost: booleans, one for each entry of the leading axis: where given, an entry that blows up is marked there and goes on as
            zero, and no error is raised.

    Returns:
        States at steps 0, every, 2 every, ...: (frames, ..., n, n). The first step is Euler's.

    Raises:
        ValueError: a mode beyond 1e4 or not finite; the message names the step.
    """
    before, slope_before, seen = None, None, [state]
    now = box.transform(state)
    for k in range(steps):
        slope = box.keep * box.transform(nonlinear(state))
        if before is None:
            after = (now + dt * slope) / (1 - dt * linear)
        else:
            after = (4 * now - before + 2 * dt * (2 * slope - slope_before)) / (3 - 2 * dt * linear)
        before, slope_before, now = now, slope, after
        size = now.detach().abs().flatten(1).amax(1) / box.n**2
        if not bool((size < LARGEST).all()):
            if lost is None:
                raise ValueError(f"step {k + 1}: the field blows up beyond {LARGEST:g}; take a shorter dt than {dt:g}")
            lost |= ~(size < LARGEST)
            now, before, slope = (
                each.masked_fill(lost.reshape(-1, *[1] * (now.ndim - 1)), 0.0) for each in (now, before, slope)
            )
            slope_before = slope
        state = box.field(now, not state.is_complex())
        if (k + 1) % every == 0:
            seen.append(state)
        if progress is not None:
            progress((k + 1) / steps)
    return torch.stack(seen)
