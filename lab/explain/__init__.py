"""Explanations by local function approximation: one engine, eight presets, measured faithfulness.

``explain(f, x, neighbourhood=..., model=..., loss=...)`` finds the interpretable ``g`` nearest to ``f`` around every
row of
``x``. LIME, C-LIME, KernelSHAP, Occlusion, Vanilla Gradients, Gradients x Input, SmoothGrad and Integrated Gradients
are choices of its arguments. ``risk``, ``compare`` and ``choose`` say how faithful an explanation is and which to take.

Source: T. Han, S. Srinivas, H. Lakkaraju, 'Which Explanation Should I Choose? A Function Approximation Perspective to
Characterizing Post Hoc Explanations', NeurIPS 2022.
"""

from lab.explain.choice import QUESTIONS as QUESTIONS
from lab.explain.choice import Choice as Choice
from lab.explain.choice import choose as choose
from lab.explain.engine import explain as explain
from lab.explain.engine import prepare as prepare
from lab.explain.explanation import Diagnostics as Diagnostics
from lab.explain.explanation import Explanation as Explanation
from lab.explain.explanation import ExplanationWarning as ExplanationWarning
from lab.explain.explanation import load as load
from lab.explain.frames import typical as typical
from lab.explain.metrics import deletion as deletion
from lab.explain.metrics import infidelity as infidelity
from lab.explain.metrics import insertion as insertion
from lab.explain.metrics import max_sensitivity as max_sensitivity
from lab.explain.metrics import prediction_gap as prediction_gap
from lab.explain.metrics import recovery as recovery
from lab.explain.neighbourhoods import Categories as Categories
from lab.explain.neighbourhoods import Exponential as Exponential
from lab.explain.neighbourhoods import Gaussian as Gaussian
from lab.explain.neighbourhoods import LeaveOneOut as LeaveOneOut
from lab.explain.neighbourhoods import Masks as Masks
from lab.explain.neighbourhoods import Sampler as Sampler
from lab.explain.neighbourhoods import Scaling as Scaling
from lab.explain.neighbourhoods import Shapley as Shapley
from lab.explain.neighbourhoods import Uniform as Uniform
from lab.explain.no_free_lunch import Adversary as Adversary
from lab.explain.no_free_lunch import Distance as Distance
from lab.explain.no_free_lunch import adversary as adversary
from lab.explain.no_free_lunch import distance as distance
from lab.explain.players import grid as grid
from lab.explain.players import superpixels as superpixels
from lab.explain.presets import METHODS as METHODS
from lab.explain.presets import clime as clime
from lab.explain.presets import gradient_x_input as gradient_x_input
from lab.explain.presets import gradients as gradients
from lab.explain.presets import integrated_gradients as integrated_gradients
from lab.explain.presets import kernelshap as kernelshap
from lab.explain.presets import lime as lime
from lab.explain.presets import occlusion as occlusion
from lab.explain.presets import smoothgrad as smoothgrad
from lab.explain.relations import Relation as Relation
from lab.explain.relations import relations as relations
from lab.explain.risk import Comparison as Comparison
from lab.explain.risk import Risk as Risk
from lab.explain.risk import compare as compare
from lab.explain.risk import questions as questions
from lab.explain.risk import recipes as recipes
from lab.explain.risk import risk as risk
from lab.explain.surrogate import Linear as Linear
from lab.explain.surrogate import Sobolev as Sobolev
