"""Running a stage: steps, tasks, executors, progress, and the parts that every command shares."""
