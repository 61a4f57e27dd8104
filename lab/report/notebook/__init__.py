"""A notebook: its typed parameters, and its execution in a kernel of its own."""
