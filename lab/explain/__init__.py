"""Explanations by local function approximation: one engine, eight presets, measured faithfulness.

``explain(f, x, neighbourhood=..., model=..., loss=...)`` finds the interpretable ``g`` nearest to ``f`` around every
row of
``x``. LIME, C-LIME, KernelSHAP, Occlusion, Vanilla Gradients, Gradients x Input, SmoothGrad and Integrated Gradients
are choices of its arguments. ``risk``, ``compare`` and ``choose`` say how faithful an explanation is and which to take.

Source: T. Han, S. Srinivas, H. Lakkaraju, 'Which Explanation Should I Choose? A Function Approximation Perspective to
Characterizing Post Hoc Explanations', NeurIPS 2022.
"""

from lab.explain.choice import QUESTIONS, Choice, choose
from lab.explain.engine import explain, prepare
from lab.explain.explanation import Diagnostics, Explanation, ExplanationWarning, load
from lab.explain.frames import typical
from lab.explain.metrics import deletion, infidelity, insertion, max_sensitivity, prediction_gap, recovery
from lab.explain.neighbourhoods import (
    Categories,
    Exponential,
    Gaussian,
    LeaveOneOut,
    Masks,
    Sampler,
    Scaling,
    Shapley,
    Uniform,
)
from lab.explain.no_free_lunch import Adversary, Distance, adversary, distance
from lab.explain.players import grid, superpixels
from lab.explain.presets import (
    METHODS,
    clime,
    gradient_x_input,
    gradients,
    integrated_gradients,
    kernelshap,
    lime,
    occlusion,
    smoothgrad,
)
from lab.explain.relations import Relation, relations
from lab.explain.risk import Comparison, Risk, compare, questions, recipes, risk
from lab.explain.surrogate import Linear, Sobolev

__all__ = [
    "METHODS",
    "QUESTIONS",
    "Adversary",
    "Categories",
    "Choice",
    "Comparison",
    "Diagnostics",
    "Distance",
    "Explanation",
    "ExplanationWarning",
    "Exponential",
    "Gaussian",
    "LeaveOneOut",
    "Linear",
    "Masks",
    "Relation",
    "Risk",
    "Sampler",
    "Scaling",
    "Shapley",
    "Sobolev",
    "Uniform",
    "adversary",
    "choose",
    "clime",
    "compare",
    "deletion",
    "distance",
    "explain",
    "gradient_x_input",
    "gradients",
    "grid",
    "infidelity",
    "insertion",
    "integrated_gradients",
    "kernelshap",
    "lime",
    "load",
    "max_sensitivity",
    "occlusion",
    "prediction_gap",
    "prepare",
    "questions",
    "recipes",
    "recovery",
    "relations",
    "risk",
    "smoothgrad",
    "superpixels",
    "typical",
]
