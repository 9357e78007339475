"""Previews of files, drawn in processes that can do nothing else."""
