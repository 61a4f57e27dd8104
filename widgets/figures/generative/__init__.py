"""Figures of the room of generative models, one module a method."""

from widgets.figures.generative import ddsp as ddsp
from widgets.figures.generative import private_gsd as private_gsd
from widgets.figures.generative import vi_fractional_sde as vi_fractional_sde
from widgets.figures.generative.compare import over_budget as over_budget
from widgets.figures.generative.score_ntk import error_parts as error_parts
from widgets.figures.generative.score_ntk import learning_curves as learning_curves
from widgets.figures.generative.score_ntk import score_field as score_field
from widgets.figures.generative.score_sde import asked_for as asked_for
from widgets.figures.generative.score_sde import by_cost as by_cost
from widgets.figures.generative.score_sde import clouds as clouds
from widgets.figures.generative.score_sde import coloured as coloured
from widgets.figures.generative.score_sde import error_over_time as error_over_time
from widgets.figures.generative.score_sde import filled_in as filled_in
from widgets.figures.generative.score_sde import gallery as gallery
from widgets.figures.generative.score_sde import joint as joint
from widgets.figures.generative.score_sde import particles as particles
from widgets.figures.generative.svdd import beside_the_law as beside_the_law
from widgets.figures.generative.svdd import histograms as histograms
from widgets.figures.generative.svdd import reward_against_density as reward_against_density
from widgets.figures.generative.svdd import rewards as rewards
from widgets.figures.generative.svdd import steered_cloud as steered_cloud
from widgets.figures.generative.svdd import tradeoff as tradeoff
