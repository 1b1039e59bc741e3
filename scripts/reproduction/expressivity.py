"""Stretching of a circle by random continuous-time networks: the LTC paper's figure 3.

A unit circle u(t) = (sin t, cos t), t from 0 to 2π, is the input of k units x with random weights.
The length of the units' path in its first two principal components, divided by the circle's 2π,
measures the expressivity of the network. With f = φ(W u + b) and r = φ(U x + c):

    Neural ODE  dx/dt = f + r
    CT-RNN      dx/dt = f + r − x/τ
    LTC         dx/dt = A f + B r − x (1/τ + |f| + |r|)

φ is tanh, W, U ~ N(0, σ²), b, c ~ N(0, 1), τ ~ |N(0, 1)|; A_i and B_i are sums of k reversal
potentials ~ N(0, σ²), so the range of an LTC grows with k and σ, but not that of the others.

A second figure compares the bounds of a circuit's potentials and time constants with the values it
reaches (`bounds`).

Sources: Hasani et al. 2021 (arXiv 2006.04439), section 5 and figure 3, in the equations and
distributions of the published code; trajectory length: Raghu et al. 2017 (arXiv 1606.05336).
Differs: all three models have the recurrent term r, which only the LTC has in the published code.
"""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp

from ncp_control.learning.results import newest
from ncp_control.markdown import markdown_table
from scripts.palette import BLUE, GREEN, VERMILION
from scripts.pictures import write_picture
from scripts.reproduction.bounds import draw_bounds, make_circuit
from scripts.reproduction.completion import Job, Measured, Reproduce, complete

MODELS = ("ltc", "ctrnn", "neural_ode")
WIDTHS, SCALES = (10, 25, 50, 100, 150), (1.0, 2.0, 4.0, 8.0)
DEFAULT_WIDTH, DEFAULT_SCALE = 100, 2.0
NUM_POINTS = 500
COLOURS = {"ltc": BLUE, "ctrnn": GREEN, "neural_ode": VERMILION}


def reproduce_expressivity(settings: Reproduce) -> None:
    """Measure the missing rows, print the medians and draw the figures."""
    models = settings.chosen("models", MODELS)
    results = settings.results_file(("stretch",))
    sizes = [(width, DEFAULT_SCALE) for width in WIDTHS]
    sizes += [(DEFAULT_WIDTH, scale) for scale in SCALES if scale != DEFAULT_SCALE]
    jobs = [
        Job(model, seed, describe(*size))
        for size in sizes
        for model in models
        for seed in range(settings.seeds or 5)
    ]
    complete(results, jobs, measure, settings)
    rows = newest(results.rows())

    def stretches(model: str, width: int, scale: float) -> list[float]:
        wanted = (model, describe(width, scale))
        return [float(r["stretch"]) for r in rows if (r["model"], r["settings"]) == wanted]

    lines = [
        [
            str(width),
            f"{scale:g}",
            *(f"{np.median(stretches(m, width, scale)):.3g}" for m in models),
        ]
        for width, scale in sizes
    ]
    print(markdown_table(["width", "σ", *models], lines))
    measured = [model for model in MODELS if all(stretches(model, *size) for size in sizes)]
    figures = {
        "expressivity": draw(measured, stretches),
        "bounds": draw_bounds(make_circuit(seed=0), seed=0),
    }
    for name, figure in figures.items():
        picture = results.path.parent / f"{name}.png"
        write_picture(picture, figure)
        print(f"figure: {picture}")


def describe(width: int, scale: float) -> str:
    """Return width and weight scale as one cell of the results file."""
    return f"width={width} scale={scale:g}"


def measure(job: Job, is_silent: bool) -> Measured:
    """Return the path length of one random network, divided by that of the circle."""
    width, scale = (float(part.split("=")[1]) for part in job.settings.split())
    return {"stretch": stretch(job.model, int(width), scale, job.seed)}


def stretch(model: str, width: int, scale: float, seed: int) -> float:
    """Integrate one random network along the circle and return its relative path length.

    Args:
        model: A name in `MODELS`; the same seed gives all models the same weights.
        width: Number of units k.
        scale: Weight scale σ.
        seed: Seed of the weights.
    """
    rng = np.random.default_rng(seed)
    input_weight, weight = (rng.normal(0.0, scale, (width, n)) for n in (2, width))
    input_bias, bias, tau = rng.normal(size=(3, width))
    reversal, input_reversal = rng.normal(0.0, scale, (2, width, width)).sum(axis=2)
    leak = 1.0 / np.abs(tau)

    def rate(t: float, x: np.ndarray) -> np.ndarray:
        driven = np.tanh(input_weight @ np.array([np.sin(t), np.cos(t)]) + input_bias)
        recurrent = np.tanh(weight @ x + bias)
        if model == "neural_ode":
            return driven + recurrent
        if model == "ctrnn":
            return driven + recurrent - leak * x
        conductance = leak + np.abs(driven) + np.abs(recurrent)
        return input_reversal * driven + reversal * recurrent - conductance * x

    times = np.linspace(0.0, 2.0 * np.pi, NUM_POINTS)
    # Units whose τ is nearly zero make the system stiff.
    path = solve_ivp(rate, (0.0, times[-1]), np.zeros(width), "LSODA", times, rtol=1e-6, atol=1e-8)
    return path_length(principal_plane(path.y.T)) / (2.0 * np.pi)


def principal_plane(path: np.ndarray) -> np.ndarray:
    """Project a path of shape (points, units) onto its first two principal components."""
    centred = path - path.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return centred @ directions[:2].T


def path_length(path: np.ndarray) -> float:
    """Return the length of the polygon through points of shape (points, dimensions)."""
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())


def draw(models: Sequence[str], stretches: Callable[..., list[float]]) -> Figure:
    """Draw the stretch against width and against weight scale, median and range over seeds."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, values, label, size in (
        (panels[0], WIDTHS, "width k", lambda width: (width, DEFAULT_SCALE)),
        (panels[1], SCALES, "weight scale σ", lambda scale: (DEFAULT_WIDTH, scale)),
    ):
        for model in models:
            quantiles = np.array(
                [np.quantile(stretches(model, *size(v)), (0.0, 0.5, 1.0)) for v in values]
            )
            axes.plot(values, quantiles[:, 1], "o-", color=COLOURS[model], label=model)
            axes.fill_between(values, *quantiles[:, [0, 2]].T, color=COLOURS[model], alpha=0.15)
        axes.set(xlabel=label, yscale="log")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("path length / circle length")
    panels[0].legend(frameon=False)
    return figure
