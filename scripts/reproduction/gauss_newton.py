"""Gauss-Newton steps for small circuits: the curvature of a squared error, by random probes.

With outputs y of N numbers, a loss ½ |y − y*|² / N and J = ∂y/∂θ, the curvature is G = Jᵀ J / N. It
is estimated without J, from P probes z of independent numbers of unit variance,

    G ≈ mean over probes of g gᵀ,   g = Jᵀ z / √N,

averaged over steps, and a step is −rate (G + δ I)⁻¹ m with m the running mean of the gradient and
δ a share of G's mean diagonal. A circuit of a thousand parameters makes that a matrix of a thousand
rows. A step backpropagates P probes through time: with 24 probes it took 11 to 18 times as long as
Adam's step for 1,200 to 1,400 parameters, and 75 times for 2,500, since the matrix is factorised.

Only one table uses this optimizer, so it is not in the library. On two other tasks it was much
better than Adam in equal steps, but not clearly so in equal time.

Source: Gauss-Newton as in Martens 2020, "New insights and perspectives on the natural gradient
method" (arXiv 1412.1193), section 8. Differs: probes in place of the whole Jacobian.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ncp_control.ranges import check_above_zero, check_count, check_share


class GaussNewton:
    """Gauss-Newton steps on the parameters of a circuit.

    Args:
        parameters: Parameters to train; a few thousand numbers at most.
        damping: δ as a share of the curvature's mean diagonal, > 0.
        probes: Number of random probes at each step.
        decay: Decay of the running averages per step.
        factor_every: Number of steps between two factorisations of the curvature.
        longest: Largest norm of a step.
        seed: Seed of the probes.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> optimizer = GaussNewton(circuit.parameters())
        >>> outputs, _ = circuit(inputs)
        >>> optimizer.step(outputs[:, 4:], wanted[:, 4:], rate=1.0)
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        damping: float = 1e-4,
        probes: int = 24,
        decay: float = 0.9,
        factor_every: int = 5,
        longest: float = 1.0,
        seed: int = 0,
    ) -> None:
        check_above_zero("damping", damping)
        check_above_zero("longest", longest)
        check_share("decay", decay)
        self.parameters = list(parameters)
        self.damping, self.decay, self.longest = damping, decay, longest
        self.probes = check_count("probes", probes)
        self.factor_every = check_count("factor_every", factor_every)
        size = sum(parameter.numel() for parameter in self.parameters)
        like = self.parameters[0].detach()
        self._curvature = like.new_zeros(size, size)
        self._gradient = like.new_zeros(size)
        self._factor = self._curvature
        self._generator = torch.Generator(like.device).manual_seed(seed)
        self._steps = 0

    def step(self, outputs: Tensor, wanted: Tensor, *, rate: float) -> float:
        """Move the parameters by one step and return the mean squared error before it.

        Args:
            outputs: Outputs in the loss, with their graph.
            wanted: Targets, of the same shape.
            rate: Step size: 1 for a full step, falling to 0 during training.
        """
        residual = (outputs - wanted).detach()
        gradient = self._pull(outputs, residual / residual.numel())
        rows = []
        for _ in range(self.probes):
            probe = torch.empty_like(residual).normal_(generator=self._generator)
            rows.append(self._pull(outputs, probe / math.sqrt(residual.numel() * self.probes)))
        probed = torch.stack(rows)
        fresh, self._steps = 1.0 - self.decay, self._steps + 1
        self._curvature.mul_(self.decay).addmm_(probed.T, probed, alpha=fresh)
        self._gradient.mul_(self.decay).add_(gradient, alpha=fresh)
        correction = 1.0 - self.decay**self._steps  # the averages began at zero
        if self._steps % self.factor_every == 1 or self.factor_every == 1:
            self._factor = self._factorise((self._curvature / correction).double())
        gradient = (self._gradient / correction)[:, None].to(self._factor)
        move = torch.cholesky_solve(gradient, self._factor)[:, 0].to(self._gradient) * rate
        move *= min(1.0, self.longest / (move.norm().item() + 1e-12))
        self._move(move)
        return residual.square().mean().item()

    def _factorise(self, curvature: Tensor) -> Tensor:
        """Return the Cholesky factor of the damped curvature.

        Raises:
            ValueError: If the curvature is not finite, since the training has diverged, or has no
                factor, since it is summed in single precision and damped too little.
        """
        if not torch.isfinite(curvature).all():
            raise ValueError(
                "`outputs` must have finite gradients, got others. Lower `rate` or raise `damping`."
            )
        curvature.diagonal().add_(self.damping * curvature.diagonal().mean() + 1e-8)
        factor, failed_at = torch.linalg.cholesky_ex(curvature)
        if failed_at:
            raise ValueError(
                "`damping` must exceed the rounding of the curvature, got"
                f" {self.damping!r}. Raise it, e.g. to 1e-4."
            )
        return factor

    def _pull(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """Return Jᵀ `weights` as one vector."""
        gradients = torch.autograd.grad(
            outputs, self.parameters, weights, retain_graph=True, allow_unused=True
        )
        parts = [
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(self.parameters, gradients, strict=True)
        ]
        return torch.cat([part.flatten() for part in parts])

    @torch.no_grad()
    def _move(self, move: Tensor) -> None:
        parts = move.split([parameter.numel() for parameter in self.parameters])
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.sub_(part.view_as(parameter))
