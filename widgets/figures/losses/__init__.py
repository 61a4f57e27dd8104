"""Figures of the room of losses, one module a method; ``figures.losses.<what>`` finds each of them."""

from importlib import import_module

_PLACES = {
    "comp_sum_curves": "comp_sum",
    "consistency_bounds": "comp_sum",
    "accuracies": "comparison",
    "accuracy_over_noise": "comparison",
    "pair_wins": "comparison",
    "temperature_spectrum": "ldr",
    "adaptive_temperatures": "ldr",
    "sampled_derivatives": "ensloss",
    "implied_losses": "ensloss",
    "aggregate_risk": "aggregate",
    "private_bag_sizes": "aggregate",
    "penalties": "contrastive_temperature",
    "penalty_entropies": "contrastive_temperature",
    "quality_over": "contrastive_temperature",
    "uniformity_tolerance": "contrastive_temperature",
    "soft_permutation": "groco",
    "pair_pulls": "groco",
    "likelihood_slopes": "meco",
    "estimate_curves": "meco",
    "density_maps": "meco",
    "error_over_samples": "generative_classifier",
    "sample_needs": "generative_classifier",
    "learned_weights": "generative_classifier",
    "surrogate_slice": "target_surrogates",
    "losses_over_calls": "target_surrogates",
    "row_objectives": "correctness_calibration",
    "scaled_probabilities": "correctness_calibration",
    "calibrators": "correctness_calibration",
    "mask_sets": "pulaski",
    "distance_profile": "pulaski",
    "set_distances": "pulaski",
}

__all__ = list(_PLACES)


def __getattr__(name):
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(
        f"module 'widgets.figures.losses' has no attribute {name!r}; it offers {', '.join(sorted(_PLACES))}"
    )


def __dir__():
    return sorted(_PLACES)
