"""Pulumi component resources: what one served model is made of, one component a file.

This package owns the resource graph: which resources exist, their names, parents, order and outputs. It leaves
alone where values come from: nothing here reads configuration, files, the environment or a cloud.
"""
