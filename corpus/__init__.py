"""The core: everything that the stages share. It imports no stage.

`storage` has stores and leases, `tables` schemas, manifests and commits, `run` steps, executors and
commands, `evaluation_sets` the test sets.
"""
