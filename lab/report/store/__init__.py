"""The store of runs and what is read from it: records, cache, index, comparison, standing of claims."""
