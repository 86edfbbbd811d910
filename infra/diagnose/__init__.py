"""Why a deployment failed, from its log and its operation: known failures, the change that mends each, and what the
prediction of memory says beside what the log says.

:mod:`known`, :mod:`match` and :mod:`readings` need the standard library only: the provider reads a failure with them.
"""

from infra.diagnose.match import Diagnosis, Evidence, recognise

__all__ = ["Diagnosis", "Evidence", "recognise"]
