"""A sweep: many jobs side by side, each with a name of its own, one table at the end, and the best of them published.

`run` is the whole of it: compose every job, name the variants, build in parallel (or hand over to a launcher of Hydra), then
judge, select, and write the summary.
"""
