"""Figures of the room of search, one module a method."""

from widgets.figures.search.common import alpha_paths as alpha_paths
from widgets.figures.search.common import arms as arms
from widgets.figures.search.common import graph as graph
from widgets.figures.search.comparison import accuracy_over_cost as accuracy_over_cost
from widgets.figures.search.darts_pt import strength_bars as strength_bars
from widgets.figures.search.proxylessnas import blocks as blocks
from widgets.figures.search.proxylessnas import front as front
from widgets.figures.search.rarts import plane as plane
from widgets.figures.search.sd_darts import gaps as gaps
from widgets.figures.search.sd_darts import sharpness as sharpness
from widgets.figures.search.self_tuning_networks import hyperparameter_paths as hyperparameter_paths
from widgets.figures.search.self_tuning_networks import losses_of_arms as losses_of_arms
from widgets.figures.search.self_tuning_networks import responses as responses
from widgets.figures.search.sharpdarts import choices as choices
from widgets.figures.search.sharpdarts import coefficients as coefficients
from widgets.figures.search.sharpdarts import schedules as schedules
