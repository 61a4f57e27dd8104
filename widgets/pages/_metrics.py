"""What the numbers of the pages mean: unit, which way is better, one sentence. One place for all pages.

A number is looked up by its name: the first entry whose words occur in it counts. A page may explain its own numbers, or
override an entry, with ``pages.numbers(metrics={"name": Metric(...)})``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number's meaning in one sentence, its unit, and which way is better: ``"higher"``, ``"lower"`` or neither."""

    meaning: str = ""
    unit: str = ""
    better: str = ""

    def __post_init__(self):
        if self.better not in ("", "higher", "lower"):
            raise ValueError(f"better must be 'higher', 'lower' or '', got {self.better!r}")


_LOWER, _HIGHER = "lower", "higher"

# The order counts: the first entry found in a name is taken.
METRICS: dict[str, Metric] = {
    r"misclassified cells": Metric("Cells of the medium whose most probable phase is not the true one.", "", _LOWER),
    r"entropy of the phase": Metric(
        "Uncertainty of a cell: 0 where the posterior is sure of the phase, 1 where it is even.", "bits"
    ),
    r"R-hat": Metric("Spread between chains over the spread within them: 1 where all chains agree.", "", _LOWER),
    r"\bbound\b.*excess error": Metric(
        "The most by which the error may exceed the best one, given the excess risk.", "", _LOWER
    ),
    r"\bregret\b": Metric("Loss beyond that of the best fixed decision in hindsight.", "", _LOWER),
    r"^bound\b": Metric("What the theory guarantees at most."),
    r"points with nonzero gradient": Metric("Points that the loss moves in this step."),
    r"required bits$|bits per test point": Metric(
        "Prior knowledge needed to reach this test loss: −log₂ of the fraction of functions that do.", "bits"
    ),
    r"log.likelihood|\bpsnr\b|\bssim\b|\bauc\b|\bf1\b|^precision$|^recall$": Metric(
        "Quality on held-out data.", "", _HIGHER
    ),
    r"matching error": Metric("Bars of prediction and label that Betti matching leaves unmatched.", "features", _LOWER),
    r"betti number error": Metric(
        "Difference between the numbers of features of prediction and label.", "features", _LOWER
    ),
    r"\bcldice\b": Metric(
        "Overlap of the skeletons of two masks: 1 is perfect; sensitive to broken connections.", "", _HIGHER
    ),
    r"\bdice\b": Metric("Overlap of two masks: 1 is identical, 0 is disjoint.", "", _HIGHER),
    r"unmatched in prediction|false positive": Metric(
        "Features of the prediction that the label does not have.", "features", _LOWER
    ),
    r"unmatched in label|false negative": Metric(
        "Features of the label that the prediction does not have.", "features", _LOWER
    ),
    r"^matched": Metric("Features that prediction and label have at the same place.", "features", _HIGHER),
    r"confidence error": Metric("Distance between confidence and correctness of a prediction.", "", _LOWER),
    r"confidence at": Metric("The largest predicted probability after dividing the logits by the temperature."),
    r"^correctness$": Metric("1 if the predicted class is the true one, else 0."),
    r"optimal temperature": Metric("The temperature at which this objective is smallest."),
    r"bayes error": Metric("The smallest error that any classifier can have on this distribution.", "", _LOWER),
    r"excess error": Metric("How far the error may exceed the best one, given the excess risk.", "", _LOWER),
    r"lost in discretization": Metric(
        "Accuracy that the supernet loses when one operation per edge is kept.", "", _LOWER
    ),
    r"sharpness": Metric("How fast the loss grows around the solution.", "", _LOWER),
    r"^accepted steps$": Metric("Steps of the solver whose estimated error is tolerated.", "steps", _LOWER),
    r"^rejected steps$": Metric("Steps of the solver that were tried again with a smaller size.", "steps", _LOWER),
    r"steps to within": Metric("Steps until the iterate stays this close to the optimum.", "steps", _LOWER),
    r"final α|final w": Metric("The last iterate of the search on the test problem, whose optimum is 1."),
    r"accuracy|^retrained$|, retrained$|^supernet$": Metric(
        "Share of correctly classified held-out examples.", "", _HIGHER
    ),
    r"test error": Metric("Share of misclassified held-out examples.", "", _LOWER),
    r"squared bias": Metric("Part of the risk that comes from a systematic deviation.", "", _LOWER),
    r"^variance": Metric("Part of the risk that comes from the draw of the training set.", "", _LOWER),
    r"\brisk\b": Metric("Expected loss on unseen data.", "", _LOWER),
    r"energy distance|sinkhorn|wasserstein|\bmmd\b": Metric(
        "Distance between two distributions; 0 if they are equal.", "", _LOWER
    ),
    r"fitted tail$": Metric("Required bits extrapolated from sampled hypotheses.", "bits"),
    r"threshold ε": Metric("Test loss that counts as good enough."),
    r"smallest reachable loss": Metric("Test loss that no function of the space undercuts.", "", _LOWER),
    r"posterior mean's loss": Metric("Test loss of the mean over all functions that fit the training set.", "", _LOWER),
    r"amplitude": Metric("Scale of the functions, fitted by maximum marginal likelihood."),
    r"entropy": Metric("Evenness of a distribution; larger means more evenly spread.", "nats"),
    r"share of|^largest share|^smallest share": Metric("Part of the whole, between 0 and 1."),
    r"roofline": Metric("Shortest time that memory bandwidth and arithmetic throughput allow here.", "ms"),
    r"bytes": Metric("Size in memory or on disk.", "bytes", _LOWER),
    r"times smaller": Metric("Ratio of the sizes.", "×", _HIGHER),
    r"pairs in the right order|in the right order": Metric(
        "Share of positive-negative pairs whose similarities are ordered.", "", _HIGHER
    ),
    r"growth rate": Metric("Rate at which small perturbations grow; negative means stable."),
    r"mean order": Metric("Degree of alignment: 0 is isotropic, 1 is fully aligned."),
    r"stress": Metric("Force per area inside the material."),
    r"largest jump": Metric("Largest step of the solution between two neighbouring blocks.", "", _LOWER),
    r"iterations of the slowest": Metric(
        "Steps of Levenberg-Marquardt until the gradient is within the tolerance.", "", _LOWER
    ),
    r"did not converge": Metric("Solves that stopped before the tolerance; their weights are not optimal.", "", _LOWER),
    r"\brms\b|\bmse\b|residual|distance to": Metric("Distance between the compared quantities.", "", _LOWER),
    r"\bdistance\b": Metric("Distance between the compared quantities."),
    r"\bgradient\b(?! descent)": Metric("Derivative of the loss; descent steps go against it."),
    r"\blatency\b|\bruntime\b|^seconds\b|\bmilliseconds\b": Metric("Duration.", "", _LOWER),
    r"faithful|fidelity": Metric("How well the explanation predicts the model around the input.", "", _HIGHER),
    r"error": Metric("Distance from the true value.", "", _LOWER),
    r"model calls|gradient calls|evaluations": Metric("How often the model is evaluated.", "calls", _LOWER),
    r"reward|return\b": Metric("What the policy collects.", "", _HIGHER),
    r"perplexity|negative log|\bnll\b|\bbpd\b": Metric("How surprised the model is by held-out data.", "", _LOWER),
    r"\bloss\b": Metric("The value of the objective.", "", _LOWER),
    r"longest loop|longest bar": Metric("Persistence of the most persistent feature."),
    r"^bars$|^atoms$": Metric("Features in the barcode."),
}
_COMPILED = [(re.compile(words, re.IGNORECASE), metric) for words, metric in METRICS.items()]
_UNIT = re.compile(r"\s*[(\[]((?:k|m|µ|n)?(?:Pa|s|ms|m|mm|nats|bits|%|MB|kB|GB|J|K|Hz|rad|points|pixels|voxels))[)\]]$")


def metric(name: str, own: Mapping[str, Metric] | None = None) -> Metric:
    """The meaning of a number by its name: the page's own entry, else the glossary's, else an empty one."""
    if own and name in own:
        return own[name]
    return next((found for pattern, found in _COMPILED if pattern.search(name)), Metric())


def split_unit(name: str) -> tuple[str, str]:
    """A name that ends in a unit, like ``"latency (ms)"``, as name and unit."""
    found = _UNIT.search(name)
    return (name[: found.start()], found.group(1)) if found else (name, "")
