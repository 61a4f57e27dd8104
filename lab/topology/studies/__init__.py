"""The experiments of the room; claims, notebooks, pages and figures read their results."""
