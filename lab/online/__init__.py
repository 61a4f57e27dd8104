"""Learning while losses arrive: environments between stochastic and adversarial, learners in batches, regret and its bounds.

::

    play(learner, environment, rounds=None) -> Played            points, gradients, losses; all of a batch at once
    SEA(mean, noise, *, loss, radius, seeds), spectrum(name, rounds, ...), stream(features, target), Experts.of(losses)
    OptimisticMirrorDescent(kind), DynamicMirrorDescent(), OptimisticFTRL(), GradientDescent(), AdaGradNorm(), Hedge()
    learn(process, method) -> Learned                            policies from bandit feedback, all runs of a process at once
    linear_process(episodes, ...), bandit(losses)                losses that change between episodes; an own table of losses
    regret.static(environment, losses, at), regret.dynamic(environment, points), path_bound(...), expected_bound(...)

    >>> import torch
    >>> from lab.online import SEA, OptimisticMirrorDescent, play, regret
    >>> environment = SEA(torch.ones(100, 2) * 0.3, noise=0.1, loss="squared", seeds=range(4))
    >>> played = play(OptimisticMirrorDescent("strongly convex"), environment)
    >>> regret.static(environment, played.losses).shape
    torch.Size([4, 1])
"""

from lab.online import regret as regret
from lab.online.environments import SEA as SEA
from lab.online.environments import Environment as Environment
from lab.online.environments import Experts as Experts
from lab.online.environments import random_order as random_order
from lab.online.environments import spectrum as spectrum
from lab.online.environments import stack as stack
from lab.online.environments import stream as stream
from lab.online.learners import AdaGradNorm as AdaGradNorm
from lab.online.learners import GradientDescent as GradientDescent
from lab.online.learners import Hedge as Hedge
from lab.online.learners import OptimisticFTRL as OptimisticFTRL
from lab.online.learners import Played as Played
from lab.online.learners import play as play
from lab.online.optimistic_omd_sea import DynamicMirrorDescent as DynamicMirrorDescent
from lab.online.optimistic_omd_sea import OptimisticMirrorDescent as OptimisticMirrorDescent
from lab.online.optimistic_omd_sea import dynamic_path_bound as dynamic_path_bound
from lab.online.optimistic_omd_sea import expected_bound as expected_bound
from lab.online.optimistic_omd_sea import path_bound as path_bound
from lab.online.processes import AdversarialMDP as AdversarialMDP
from lab.online.processes import CircleProcess as CircleProcess
from lab.online.processes import bandit as bandit
from lab.online.processes import linear_process as linear_process
from lab.online.refined_regret_linear_mdp import Learned as Learned
from lab.online.refined_regret_linear_mdp import learn as learn
from lab.online.refined_regret_linear_mdp import log_barrier as log_barrier
