"""The Pulumi program. Everything is in `infra.program`; the project's folder is on the module path only from here."""

from infra.program import run

run()
