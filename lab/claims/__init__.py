"""The ledger of claims: every statement of a method's paper, its rule, and the function that measures it.

``measure(id)`` measures one row on this machine; :mod:`lab.claims.ledger` describes a row, :mod:`lab.claims.measure` how a
function measures it, :mod:`lab.claims.verdict` how a verdict follows, :mod:`lab.claims.recorded` the state that ships.
"""

from lab.claims.ledger import KINDS as KINDS
from lab.claims.ledger import RULES as RULES
from lab.claims.ledger import SETTINGS as SETTINGS
from lab.claims.ledger import Claim as Claim
from lab.claims.ledger import Method as Method
from lab.claims.ledger import by_id as by_id
from lab.claims.ledger import ledger as ledger
from lab.claims.ledger import method as method
from lab.claims.ledger import methods as methods
from lab.claims.measure import BUDGETS as BUDGETS
from lab.claims.measure import Effects as Effects
from lab.claims.measure import Measured as Measured
from lab.claims.measure import Trial as Trial
from lab.claims.measure import measure as measure
from lab.claims.registry import measures as measures
from lab.claims.registry import measuring_function as measuring_function
from lab.claims.registry import tune as tune
from lab.claims.registry import tunes as tunes
from lab.claims.verdict import STATUSES as STATUSES
