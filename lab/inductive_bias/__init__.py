"""How many bits of prior knowledge a task demands of a space of hypotheses.

task = lab.inductive_bias.Task((x, y), (u, v))
law = lab.inductive_bias.KernelSpace(RBF()).loss_law(task)
lab.inductive_bias.required_bits(law, eps=0.02)
"""

from lab.inductive_bias.bit_estimates import Estimates as Estimates
from lab.inductive_bias.bit_estimates import estimates as estimates
from lab.inductive_bias.bit_methods import required_bits as required_bits
from lab.inductive_bias.bitmap import BitMap as BitMap
from lab.inductive_bias.bitmap import bit_map as bit_map
from lab.inductive_bias.bits import Bits as Bits
from lab.inductive_bias.bits import BitsCurve as BitsCurve
from lab.inductive_bias.covariances import NNGP as NNGP
from lab.inductive_bias.covariances import NTK as NTK
from lab.inductive_bias.covariances import RBF as RBF
from lab.inductive_bias.covariances import Linear as Linear
from lab.inductive_bias.covariances import Matern as Matern
from lab.inductive_bias.covariances import Patch as Patch
from lab.inductive_bias.covariances import Polynomial as Polynomial
from lab.inductive_bias.covariances import Sum as Sum
from lab.inductive_bias.kernel_space import KernelSpace as KernelSpace
from lab.inductive_bias.kernel_space import Posterior as Posterior
from lab.inductive_bias.laws import DiscreteLaw as DiscreteLaw
from lab.inductive_bias.laws import EnergyLaw as EnergyLaw
from lab.inductive_bias.laws import GaussianQuadraticLaw as GaussianQuadraticLaw
from lab.inductive_bias.laws import SampleLaw as SampleLaw
from lab.inductive_bias.networks import FiniteSpace as FiniteSpace
from lab.inductive_bias.networks import WeightPriorSpace as WeightPriorSpace
from lab.inductive_bias.ranking import Absolute as Absolute
from lab.inductive_bias.ranking import Reaches as Reaches
from lab.inductive_bias.ranking import Share as Share
from lab.inductive_bias.ranking import bits_over_dimension as bits_over_dimension
from lab.inductive_bias.ranking import bits_over_n_test as bits_over_n_test
from lab.inductive_bias.ranking import bits_over_n_train as bits_over_n_train
from lab.inductive_bias.ranking import compare as compare
from lab.inductive_bias.ranking import cosine_task as cosine_task
from lab.inductive_bias.ranking import laws_over_n_test as laws_over_n_test
from lab.inductive_bias.ranking import laws_over_n_train as laws_over_n_train
from lab.inductive_bias.ranking import rank_own_table as rank_own_table
from lab.inductive_bias.ranking import standard_spaces as standard_spaces
from lab.inductive_bias.ranking import threshold as threshold
from lab.inductive_bias.related_measures import bound_2023 as bound_2023
from lab.inductive_bias.related_measures import leave_one_out_loss as leave_one_out_loss
from lab.inductive_bias.related_measures import prequential_bits as prequential_bits
from lab.inductive_bias.scale import large_bits as large_bits
from lab.inductive_bias.scale import large_law as large_law
from lab.inductive_bias.splitting import Splitting as Splitting
from lab.inductive_bias.task import Task as Task
from lab.inductive_bias.task_edits import AddDimensions as AddDimensions
from lab.inductive_bias.task_edits import FewerLabels as FewerLabels
from lab.inductive_bias.task_edits import LabelNoise as LabelNoise
from lab.inductive_bias.task_edits import RotateImages as RotateImages
from lab.inductive_bias.task_edits import ShuffleFeatures as ShuffleFeatures
from lab.inductive_bias.task_edits import hardest as hardest
from lab.inductive_bias.task_edits import price as price
from lab.inductive_bias.trained import TrainedSpace as TrainedSpace
