"""A page for tests whose import fails."""

raise RuntimeError("this module cannot be imported <b>at all</b>")
