"""Figures of the room of physics, one module a method."""

from widgets.figures.physics import aas as aas
from widgets.figures.physics import dcdm as dcdm
from widgets.figures.physics import dgno as dgno
from widgets.figures.physics import difftactile as difftactile
from widgets.figures.physics import pi_hc_moe as pi_hc_moe
from widgets.figures.physics import reg_neural_de as reg_neural_de
from widgets.figures.physics import spon as spon
from widgets.figures.physics.active_fluid_closures import closure_curves as closure_curves
from widgets.figures.physics.active_fluid_closures import closure_errors as closure_errors
from widgets.figures.physics.active_fluid_closures import order_maps as order_maps
from widgets.figures.physics.active_fluid_closures import order_over_time as order_over_time
from widgets.figures.physics.deepmesh import demanded as demanded
from widgets.figures.physics.deepmesh import derivative_errors as derivative_errors
from widgets.figures.physics.deepmesh import descent as descent
from widgets.figures.physics.deepmesh import reconstructions as reconstructions
from widgets.figures.physics.deepmesh import views as views
from widgets.figures.physics.nclaw import bodies as bodies
from widgets.figures.physics.nclaw import held_out as held_out
from widgets.figures.physics.nclaw import stress_curves as stress_curves
from widgets.figures.physics.nclaw import training as training
