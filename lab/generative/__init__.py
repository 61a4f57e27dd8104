"""Models that make data: diffusion forwards and back, guided, distilled to one step, private, and by ear.

::

    fit_score(points, sde="VP") -> ScoreModel                 a score learned from own points; .save(path), ScoreModel.load(path)
    sample(model, 500, sampler="flow") -> (500, d)            or "predictor", "predictor-corrector", "corrector"
    log_likelihood(model, points) -> (items,)                 exact, by the probability flow
    VP(), SubVP(), VE()                                       forward processes: drift, diffusion, mean, std, prior
    GaussianMixture(means, stds, weights)                     exact density, score and posterior mean at every noise level
    steer(model, reward, 100, candidates=10)                  samples that an own Python function likes, of points or texts
    decode(chain, value, items=100, candidates=10, alpha=0)   samples of a frozen model steered by a reward; Diffusion, Masked
    distill(model, divergence="forward KL").sample(500)       a generator of one evaluation a sample, from a model or own points
    synthesize(table, epsilon, delta, bounds=, levels=)       a private synthetic table and the ledger of its budget
    Autoencoder, train                                        sound from oscillators, noise and a room (``ddsp``)
    fit_hurst(series), Noise, simulate                        SDEs driven by fractional noise (``vi_fractional_sde``)
    Domain, Column, marginals, halfspaces, prefixes, ranges   what a private table is asked

    >>> import torch
    >>> from lab.generative import VP, GaussianMixture
    >>> sde, target = VP(), GaussianMixture(torch.tensor([[-2.0], [2.0]]), 0.5)
    >>> t = torch.tensor(0.5)
    >>> target.score(torch.zeros(3, 1), sde.mean(t), sde.std(t)).shape
    torch.Size([3, 1])
"""

from lab.generative.ddsp import Autoencoder as Autoencoder
from lab.generative.ddsp import FilteredNoise as FilteredNoise
from lab.generative.ddsp import FIRReverb as FIRReverb
from lab.generative.ddsp import HarmonicSynth as HarmonicSynth
from lab.generative.ddsp import MultiScaleSpectralLoss as MultiScaleSpectralLoss
from lab.generative.f_distill import distill as distill
from lab.generative.f_distill import f_weight as f_weight
from lab.generative.f_distill import kernel_density as kernel_density
from lab.generative.mixtures import GaussianMixture as GaussianMixture
from lab.generative.one_step import OneStepGenerator as OneStepGenerator
from lab.generative.private_gsd import Synthetic as Synthetic
from lab.generative.private_gsd import synthesize as synthesize
from lab.generative.queries import Column as Column
from lab.generative.queries import Domain as Domain
from lab.generative.queries import halfspaces as halfspaces
from lab.generative.queries import marginals as marginals
from lab.generative.queries import prefixes as prefixes
from lab.generative.queries import ranges as ranges
from lab.generative.score_ntk import Networks as Networks
from lab.generative.score_ntk import kernel as kernel
from lab.generative.score_ntk import regression_data as regression_data
from lab.generative.score_ntk import stopping_time as stopping_time
from lab.generative.score_ntk import train as train
from lab.generative.score_sde import ScoreModel as ScoreModel
from lab.generative.score_sde import fit_score as fit_score
from lab.generative.score_sde import log_likelihood as log_likelihood
from lab.generative.score_sde import sample as sample
from lab.generative.scores import LearnedScore as LearnedScore
from lab.generative.scores import train_score as train_score
from lab.generative.sdes import SDE as SDE
from lab.generative.sdes import SDES as SDES
from lab.generative.sdes import VE as VE
from lab.generative.sdes import VP as VP
from lab.generative.sdes import SubVP as SubVP
from lab.generative.svdd import Diffusion as Diffusion
from lab.generative.svdd import Masked as Masked
from lab.generative.svdd import best_of as best_of
from lab.generative.svdd import decode as decode
from lab.generative.svdd import posterior_mean_value as posterior_mean_value
from lab.generative.svdd import steer as steer
from lab.generative.vi_fractional_sde import Noise as Noise
from lab.generative.vi_fractional_sde import fit_hurst as fit_hurst
from lab.generative.vi_fractional_sde import simulate as simulate
