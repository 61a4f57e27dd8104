"""How many bits of prior knowledge a task demands of a space of hypotheses.

    task = lab.inductive_bias.Task((x, y), (u, v))
    law = lab.inductive_bias.KernelSpace(RBF()).loss_law(task)
    lab.inductive_bias.required_bits(law, eps=0.02)

Names are imported on first use.
"""

from importlib import import_module

_PLACES = {
    "task": ("Task",),
    "covariances": ("RBF", "Matern", "Linear", "Polynomial", "Patch", "NNGP", "NTK", "Sum"),
    "kernel_space": ("KernelSpace", "Posterior"),
    "laws": ("GaussianQuadraticLaw", "DiscreteLaw", "SampleLaw", "EnergyLaw"),
    "bits": ("Bits", "BitsCurve", "required_bits"),
    "splitting": ("Splitting",),
    "networks": ("WeightPriorSpace", "FiniteSpace"),
    "trained": ("TrainedSpace",),
    "ranking": (
        "compare",
        "rank_own_table",
        "standard_spaces",
        "Absolute",
        "Share",
        "Reaches",
        "bits_over_n_test",
        "bits_over_n_train",
        "bits_over_dimension",
        "cosine_task",
        "laws_over_n_test",
        "laws_over_n_train",
        "threshold",
    ),
    "edits": ("AddDimensions", "RotateImages", "ShuffleFeatures", "LabelNoise", "FewerLabels", "price", "hardest"),
    "routes": ("Estimates", "estimates"),
    "scale": ("large_law", "large_bits"),
    "bitmap": ("BitMap", "bit_map"),
    "neighbours": ("bound_2023", "prequential_bits", "leave_one_out_loss"),
}
_NAMES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = sorted(_NAMES)


def __getattr__(name):
    if name in _NAMES:
        return getattr(import_module(f"lab.inductive_bias.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'lab.inductive_bias' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return __all__
