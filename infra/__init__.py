"""Everything that turns a stack file into a served model; one sub-package a concern."""
