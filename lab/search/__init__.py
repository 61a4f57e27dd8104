"""Search of architectures and hyperparameters: one supernet with stacked seeds, and six methods on it.

:func:`search` takes own candidates and own data and returns a network that is ready to train::

    from lab import search
    found = search.search({"skip": lambda w: nn.Identity(), "wide": lambda w: nn.Sequential(nn.Linear(w, w), nn.GELU())}, x, y)
    found.genotype, found.test_accuracy, found.network(seed=0)

Its parts: a :class:`Space` names the candidates on the edges of a cell, a :class:`Supernet` holds all of them for all seeds,
:mod:`lab.search.bilevel` moves weights and architecture weights in turn, :mod:`lab.search.benchmark` knows the true accuracy of all
networks of one space. Methods: ``darts_pt`` (selection by perturbation), ``sharpdarts`` (Max-W, cosine power annealing),
``sd_darts`` (voting teachers), ``rarts`` (two tied networks), ``proxylessnas`` (one path, latency), ``self_tuning_networks``
(hyperparameters that tune themselves).
"""

from lab.search import benchmark as benchmark
from lab.search import bilevel as bilevel
from lab.search.bilevel import Recipe as Recipe
from lab.search.bilevel import Searched as Searched
from lab.search.bilevel import Split as Split
from lab.search.comparison import Comparison as Comparison
from lab.search.comparison import compare as compare
from lab.search.darts_pt import select as select
from lab.search.latency import LatencyTable as LatencyTable
from lab.search.rarts import Relaxed as Relaxed
from lab.search.sd_darts import VotingTeachers as VotingTeachers
from lab.search.searching import METHODS as METHODS
from lab.search.searching import Outcome as Outcome
from lab.search.searching import search as search
from lab.search.self_tuning_networks import HyperConv2d as HyperConv2d
from lab.search.self_tuning_networks import HyperGRUCell as HyperGRUCell
from lab.search.self_tuning_networks import HyperLinear as HyperLinear
from lab.search.self_tuning_networks import Hyperparameter as Hyperparameter
from lab.search.self_tuning_networks import self_tune as self_tune
from lab.search.sharpdarts import HyperCuboid as HyperCuboid
from lab.search.sharpdarts import SharpSepConv as SharpSepConv
from lab.search.sharpdarts import cosine_power_annealing as cosine_power_annealing
from lab.search.space import Genotype as Genotype
from lab.search.space import Space as Space
from lab.search.supernet import Supernet as Supernet
from lab.search.supernet import discretize as discretize
from lab.search.supernet import mix as mix
from lab.search.supernet import one_hot as one_hot
from lab.search.supernet import retrain as retrain
