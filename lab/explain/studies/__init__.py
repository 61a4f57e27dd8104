"""The experiments of the room: the models that are explained, and what is measured on them."""

from lab.explain.studies.cost import benchmark_table as benchmark_table
from lab.explain.studies.cost import convergence as convergence
from lab.explain.studies.cost import timings as timings
from lab.explain.studies.models import FAMILIES as FAMILIES
from lab.explain.studies.models import INSTANCES as INSTANCES
from lab.explain.studies.models import NONLINEAR as NONLINEAR
from lab.explain.studies.models import Subject as Subject
from lab.explain.studies.models import digits as digits
from lab.explain.studies.models import linearized as linearized
from lab.explain.studies.models import one_output as one_output
from lab.explain.studies.models import subjects as subjects
from lab.explain.studies.models import superpixelled as superpixelled
from lab.explain.studies.models import table as table
from lab.explain.studies.models import tables as tables
