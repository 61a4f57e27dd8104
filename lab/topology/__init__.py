"""Topology as an objective: barcodes of images, graphs and point clouds, matchings, losses and optimization.

Betti matching of segmentations::

    match(prediction, label, *, filtration="superlevel", border=None, max_dimension=None) -> Matching
    match_batch(predictions, labels, *, threads=None, ...) -> list of Matching
    barcode(x, *, dimension=None) -> Barcode
    BettiMatchingLoss(sigmoid=False, softmax=False, ...)    drop-in beside a Dice loss; .submit(input, target) -> Pending
    BettiMatchingMetric(...)                                counts per dimension over batches of any shapes
    matching_error(prediction, label), companions(prediction, label)
    drawing(matching, bar, spacing=...)                     of volumes: a loop as Curve, a component or cavity as Surface

Persistence as an objective: filtration -> descriptor -> loss -> optimizer (x, f: torch tensors)::

    Rips(x)  FunctionRips(x, f)  DensityRips(x, bandwidth)  CodensityRips(x, bandwidth)  FlagDelaunay(x, f=None)
    Graph(edges, vertex_values)  Image(values, parameters=1, construction="V")  Slice(filtration, base, direction)
    bars(filtration, degree) -> Diagram             one parameter: .points (k, 2), .lengths, .essential, .index
    hilbert(filtration, degree), euler(filtration) -> SignedMeasure     any number: .points (k, p), .weights, .index
    rank(filtration, degree, grid=16) -> RankInvariant     multiparameter_landscape(filtration, degree, grid)
    total_persistence(diagram), integral(measure, function), sliced_wasserstein(mu, nu), optimal_transport(mu, nu),
    wasserstein(d1, d2), bottleneck(d1, d2), convolution(measure, grid, bandwidth), persistence_image, landscape, silhouette
    minimize(loss, x, *, steps, optimizer, learning_rate, transform=Diffeomorphic(0.2), ...) -> Optimized
    Vanilla, StratifiedSampling, BigStep, Continuation, Diffeomorphic; Objective(filtration, loss, degree); StepRule
    signed_measure(descriptor, filtration), check_semilinear(descriptor, make, parameters)     a descriptor of one's own

Lists of filtrations give lists of results on a bounded pool of threads.
"""

from lab.topology.images.barcodes import Bar as Bar
from lab.topology.images.barcodes import Barcode as Barcode
from lab.topology.images.barcodes import Bars as Bars
from lab.topology.images.barcodes import barcode as barcode
from lab.topology.images.comparison import Companions as Companions
from lab.topology.images.comparison import companions as companions
from lab.topology.images.comparison import placement as placement
from lab.topology.images.convention import CONVENTIONS as CONVENTIONS
from lab.topology.images.cycles import cycle as cycle
from lab.topology.images.large_images import Estimate as Estimate
from lab.topology.images.large_images import estimate as estimate
from lab.topology.images.loss import BettiMatchingLoss as BettiMatchingLoss
from lab.topology.images.loss import Pending as Pending
from lab.topology.images.matching import Matching as Matching
from lab.topology.images.matching import Pairs as Pairs
from lab.topology.images.matching import match as match
from lab.topology.images.matching import match_batch as match_batch
from lab.topology.images.metric import BettiMatchingMetric as BettiMatchingMetric
from lab.topology.images.metric import MatchingError as MatchingError
from lab.topology.images.metric import matching_error as matching_error
from lab.topology.images.volume_cycles import Curve as Curve
from lab.topology.images.volume_cycles import Surface as Surface
from lab.topology.images.volume_cycles import curve as curve
from lab.topology.images.volume_cycles import drawing as drawing
from lab.topology.images.volume_cycles import drawings as drawings
from lab.topology.images.volume_cycles import surface as surface
from lab.topology.images.wasserstein_loss import WassersteinMatchingLoss as WassersteinMatchingLoss
from lab.topology.images.wasserstein_loss import wasserstein_pairs as wasserstein_pairs
from lab.topology.persistence.densities import codensity as codensity
from lab.topology.persistence.densities import density as density
from lab.topology.persistence.densities import distance_to_measure as distance_to_measure
from lab.topology.persistence.diagrams import Diagram as Diagram
from lab.topology.persistence.diagrams import bars as bars
from lab.topology.persistence.distances import bottleneck as bottleneck
from lab.topology.persistence.distances import optimal_transport as optimal_transport
from lab.topology.persistence.distances import sliced_wasserstein as sliced_wasserstein
from lab.topology.persistence.distances import sliced_wasserstein_matrix as sliced_wasserstein_matrix
from lab.topology.persistence.distances import wasserstein as wasserstein
from lab.topology.persistence.filtrations import CodensityRips as CodensityRips
from lab.topology.persistence.filtrations import DensityRips as DensityRips
from lab.topology.persistence.filtrations import FlagDelaunay as FlagDelaunay
from lab.topology.persistence.filtrations import FunctionRips as FunctionRips
from lab.topology.persistence.filtrations import Graph as Graph
from lab.topology.persistence.filtrations import Image as Image
from lab.topology.persistence.filtrations import Rips as Rips
from lab.topology.persistence.objectives import Objective as Objective
from lab.topology.persistence.objectives import integral as integral
from lab.topology.persistence.objectives import lengths_between as lengths_between
from lab.topology.persistence.objectives import total_persistence as total_persistence
from lab.topology.persistence.optimize import Minimizer as Minimizer
from lab.topology.persistence.optimize import Optimized as Optimized
from lab.topology.persistence.optimize import StepRule as StepRule
from lab.topology.persistence.optimize import minimize as minimize
from lab.topology.persistence.optimizers import BigStep as BigStep
from lab.topology.persistence.optimizers import Continuation as Continuation
from lab.topology.persistence.optimizers import Diffeomorphic as Diffeomorphic
from lab.topology.persistence.optimizers import StratifiedSampling as StratifiedSampling
from lab.topology.persistence.optimizers import Vanilla as Vanilla
from lab.topology.persistence.optimizers import criticality as criticality
from lab.topology.persistence.ranks import RankInvariant as RankInvariant
from lab.topology.persistence.ranks import multiparameter_landscape as multiparameter_landscape
from lab.topology.persistence.ranks import rank as rank
from lab.topology.persistence.semilinear import Cells as Cells
from lab.topology.persistence.semilinear import cells as cells
from lab.topology.persistence.semilinear import check_semilinear as check_semilinear
from lab.topology.persistence.semilinear import signed_measure as signed_measure
from lab.topology.persistence.signed_measures import SignedMeasure as SignedMeasure
from lab.topology.persistence.signed_measures import euler as euler
from lab.topology.persistence.signed_measures import hilbert as hilbert
from lab.topology.persistence.slices import Slice as Slice
from lab.topology.persistence.vectorize import convolution as convolution
from lab.topology.persistence.vectorize import landscape as landscape
from lab.topology.persistence.vectorize import persistence_image as persistence_image
from lab.topology.persistence.vectorize import silhouette as silhouette
