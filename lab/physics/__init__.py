"""Methods that obey a law: learned materials in a simulation that keeps momentum.

Own motion, ``tracks.npz`` with ``positions`` (frames, marks, d) in metres::

    from lab import physics
    scene = physics.Scene(cells=24, spacing=1 / 24, dt=5e-4, volume=(0.375 / 18) ** 2)
    law = physics.fit_law("tracks.npz", dt=5e-4, scene=scene)
    law.save("law.pt")
    state = physics.start(positions, velocity=(1.0, -2.0))
    physics.rollout(state, law, None, scene, steps=400).x

Own second moments of an active fluid, ``moments.npz`` with ``D`` (frames, n, n, 2, 2)::

    fluid = physics.ActiveFluid(alpha=-3.5, zeta=1.0, n=24)
    closure = physics.fit_closure("moments.npz", fluid, dt=0.2)

Own surface, ``part.stl`` (or OBJ, PLY, ``.npz`` with ``points`` (n, 3), or a table of three columns)::

    fitted = physics.fit_surface("part.stl")
    fitted.save("surface.pt")
    physics.FittedSurface.load("surface.pt").export("fine.ply", resolution=96)

Own linear systems, ``poisson.npz`` (``scipy.sparse.save_npz``) or Matrix Market, the unknowns on a grid::

    A = physics.system("poisson.npz", grid=(24, 24))
    f = physics.fit_direction(A)
    f.save("direction.pt")
    physics.solve(A, b, physics.FittedDirection.load("direction.pt"), tolerance=1e-10).x

Own table with a column of classes, and any own module f(t, y) in an own training loop::

    model = physics.fit_neural_ode("patients.csv", target="outcome", regularize="error")
    model.save("model.pt")
    physics.FittedODE.load("model.pt").predict(rows)
    flow = physics.NeuralODE(f, regularize="stiffness")(y)
    loss = task(flow.y) + 0.1 * flow.penalty

Own partial differential equation, ``initial_values.npz`` with ``initial`` (instances, places), on times t and places x::

    equation = lambda u, u_t, u_x, u_xx: u_t - 0.1 * u_xx - u * (1 - u)
    fitted = physics.fit_constrained(equation, "initial_values.npz", t, x, blocks=(1, 4), overlap=(0, 4))
    fitted.save("constrained.pt")
    physics.FittedConstraint.load("constrained.pt", equation)("initial_values.npz").u

Own coefficients ``fields.npy`` (items, n, n), and sensors of u in a table, columns x, y, u::

    operator = physics.fit_operator("fields.npy", physics.Darcy(2, phases=(0.5, 1.0)))
    physics.save_operator(operator, "operator.pt")
    posterior = physics.invert(operator, "sensors.csv", noise=0.002)
    posterior.probabilities(points), posterior.solutions(points)

Own pressing of a soft pad, ``press.csv`` with columns ``vx, vy`` (m/s) and ``fx, fy`` (N), and any object as a signed distance::

    part = physics.Rigid.of(lambda p: p.norm(dim=1) - 0.03, place=(0.03, -0.03), low=(-0.04, -0.04), high=(0.04, 0.04))
    scene = physics.TactileScene(physics.Pad.block((0.06, 0.02), (12, 4)), [part])
    fitted = physics.fit_contact(scene, "press.csv")
    fitted.save("contact.pt")

Own operator between functions on a mesh, ``plate.npz`` with ``points`` and ``cells`` (or OBJ, STL, PLY in the plane z = 0)::

    V = physics.Space("plate.npz", "P1")
    net = physics.spon(V, V, boundary=0.0, levels=3)
    net.fit(physics.read_functions("forces.csv"), physics.read_functions("displacements.csv"))
    net.save("operator.pt")
    physics.Spon.load("operator.pt")(physics.read_functions("new_forces.csv"))
"""

from lab.physics.aas import FittedSolution as FittedSolution
from lab.physics.aas import adversary as adversary
from lab.physics.aas import fit_solution as fit_solution
from lab.physics.active_fluid_closures import ActiveFluid as ActiveFluid
from lab.physics.active_fluid_closures import Bingham as Bingham
from lab.physics.active_fluid_closures import InvariantClosure as InvariantClosure
from lab.physics.active_fluid_closures import StrainClosure as StrainClosure
from lab.physics.active_fluid_closures import fit_closure as fit_closure
from lab.physics.continuum import Corotated as Corotated
from lab.physics.continuum import DruckerPrager as DruckerPrager
from lab.physics.continuum import Fluid as Fluid
from lab.physics.continuum import Fluidity as Fluidity
from lab.physics.continuum import Hencky as Hencky
from lab.physics.continuum import NeoHookean as NeoHookean
from lab.physics.continuum import Scene as Scene
from lab.physics.continuum import VonMises as VonMises
from lab.physics.continuum import rollout as rollout
from lab.physics.continuum import start as start
from lab.physics.dcdm import DirectionNet as DirectionNet
from lab.physics.dcdm import FittedDirection as FittedDirection
from lab.physics.dcdm import fit_direction as fit_direction
from lab.physics.dcdm import solve as solve
from lab.physics.dcdm import system as system
from lab.physics.deepmesh import FittedSurface as FittedSurface
from lab.physics.deepmesh import IsoSurface as IsoSurface
from lab.physics.deepmesh import NeuralField as NeuralField
from lab.physics.deepmesh import fit_surface as fit_surface
from lab.physics.dgno import MultiONet as MultiONet
from lab.physics.dgno import fit_operator as fit_operator
from lab.physics.dgno import invert as invert
from lab.physics.dgno import load_operator as load_operator
from lab.physics.dgno import save_operator as save_operator
from lab.physics.difftactile import Cable as Cable
from lab.physics.difftactile import Contact as Contact
from lab.physics.difftactile import FittedContact as FittedContact
from lab.physics.difftactile import Pad as Pad
from lab.physics.difftactile import Rigid as Rigid
from lab.physics.difftactile import Scene as TactileScene  # noqa: F401
from lab.physics.difftactile import Soft as Soft
from lab.physics.difftactile import fit_contact as fit_contact
from lab.physics.difftactile import fit_motion as fit_motion
from lab.physics.difftactile import fit_optics as fit_optics
from lab.physics.elliptic import Grid as Grid
from lab.physics.elliptic import read_system as read_system
from lab.physics.finite_elements import Space as Space
from lab.physics.nclaw import FittedLaw as FittedLaw
from lab.physics.nclaw import MetaElasticity as MetaElasticity
from lab.physics.nclaw import MetaPlasticity as MetaPlasticity
from lab.physics.nclaw import TeacherSchedule as TeacherSchedule
from lab.physics.nclaw import fit_law as fit_law
from lab.physics.pi_hc_moe import BasisOperator as BasisOperator
from lab.physics.pi_hc_moe import Equation as Equation
from lab.physics.pi_hc_moe import FittedConstraint as FittedConstraint
from lab.physics.pi_hc_moe import MoEConstraint as MoEConstraint
from lab.physics.pi_hc_moe import expert_split as expert_split
from lab.physics.pi_hc_moe import fit_constrained as fit_constrained
from lab.physics.reg_neural_de import ErrorRegularizer as ErrorRegularizer
from lab.physics.reg_neural_de import FittedODE as FittedODE
from lab.physics.reg_neural_de import NeuralODE as NeuralODE
from lab.physics.reg_neural_de import NeuralSDE as NeuralSDE
from lab.physics.reg_neural_de import StiffnessRegularizer as StiffnessRegularizer
from lab.physics.reg_neural_de import fit_neural_ode as fit_neural_ode
from lab.physics.spon import Spon as Spon
from lab.physics.spon import read_functions as read_functions
from lab.physics.spon import spon as spon
from lab.physics.weak_forms import Burgers as Burgers
from lab.physics.weak_forms import Darcy as Darcy
from lab.physics.weak_forms import WendlandTest as WendlandTest
from lab.physics.weak_forms import weak_residual as weak_residual
