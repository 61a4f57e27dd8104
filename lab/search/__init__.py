"""Search of architectures and hyperparameters: one supernet with stacked seeds, and the methods on it.

A :class:`Space` names the candidates on the edges of a cell (own modules too), a :class:`Supernet` holds all of them for all
seeds, :mod:`lab.search.bilevel` moves weights and architecture weights in turn::

    from lab import search
    space = search.Space("s2", inputs=64, outputs=10)
    split = search.Split.of(x, y, train=500, validation=500)
    found = search.bilevel.run(search.Supernet(space), split, search.Recipe(steps=300), seeds=range(4))
    found.genotypes()
"""

from lab.search import benchmark as benchmark
from lab.search import bilevel as bilevel
from lab.search.bilevel import Recipe as Recipe
from lab.search.bilevel import Searched as Searched
from lab.search.bilevel import Split as Split
from lab.search.latency import LatencyTable as LatencyTable
from lab.search.space import Genotype as Genotype
from lab.search.space import Space as Space
from lab.search.supernet import Supernet as Supernet
from lab.search.supernet import discretize as discretize
from lab.search.supernet import mix as mix
from lab.search.supernet import retrain as retrain
