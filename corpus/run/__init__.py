"""Running a stage: steps, tasks, executors, progress, and common parts of commands."""
