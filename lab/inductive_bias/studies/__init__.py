"""The experiments of the room: tasks and spaces by name, and what is measured on them."""

from lab.inductive_bias.studies.named import benchmark_table as benchmark_table
from lab.inductive_bias.studies.named import few_shot_curve as few_shot_curve
from lab.inductive_bias.studies.named import few_shot_task as few_shot_task
from lab.inductive_bias.studies.named import growth as growth
from lab.inductive_bias.studies.named import image_spaces as image_spaces
from lab.inductive_bias.studies.named import least_bits_report as least_bits_report
from lab.inductive_bias.studies.named import named_space as named_space
from lab.inductive_bias.studies.named import named_task as named_task
from lab.inductive_bias.studies.named import one_axis as one_axis
from lab.inductive_bias.studies.named import pendulum_task as pendulum_task
from lab.inductive_bias.studies.named import rank_agreement as rank_agreement
from lab.inductive_bias.studies.named import routes_table as routes_table
from lab.inductive_bias.studies.named import slope_task as slope_task
from lab.inductive_bias.studies.named import trained_spaces as trained_spaces
from lab.inductive_bias.studies.named import trained_table as trained_table
