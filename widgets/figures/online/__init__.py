"""Figures of the room of online learning, one module a method."""

from widgets.figures.online.compare import compared as compared
from widgets.figures.online.optimistic_omd_sea import across as across
from widgets.figures.online.optimistic_omd_sea import growth as growth
from widgets.figures.online.optimistic_omd_sea import strong_bounds as strong_bounds
from widgets.figures.online.optimistic_omd_sea import weather as weather
from widgets.figures.online.refined_regret_linear_mdp import costs as costs
from widgets.figures.online.refined_regret_linear_mdp import estimates as estimates
from widgets.figures.online.refined_regret_linear_mdp import policy as policy
from widgets.figures.online.refined_regret_linear_mdp import regrets as regrets
