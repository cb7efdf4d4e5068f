"""Run the script: perform the effects that it yields, for a mount that pushes and for mounts that are read."""
