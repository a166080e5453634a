"""Everything emsearch raises on purpose.

EmsearchError
├── SpecError        a study, tree or volume was described wrongly   (also a ValueError)
├── NotFoundError    no study, trial or volume under that name       (also a LookupError)
├── StateError       that cannot be done now                         (also a RuntimeError)
│   └── LeaseError   another coordinator holds the study
├── ExecutionError   a job was refused or lost                       (also a RuntimeError)
│   ├── RefusedError     the cluster takes no more jobs now: wait and try again
│   └── NoAnswerError    the cluster does not answer: nothing follows from it
└── TrainingError    a training cannot go on; a fact about its candidate (also a RuntimeError)
    ├── DivergedError    the loss or the weights are not finite
    └── CollapsedError   the network predicts one class everywhere
"""


class EmsearchError(Exception):
    """Base of them all: the command line prints its message and exits with 1."""


class SpecError(EmsearchError, ValueError):
    """A study, tree or volume was described wrongly."""


class NotFoundError(EmsearchError, LookupError):
    """No study, trial or volume under that name."""


class StateError(EmsearchError, RuntimeError):
    """That cannot be done now."""


class LeaseError(StateError):
    """Another coordinator holds the study."""


class ExecutionError(EmsearchError, RuntimeError):
    """A job was refused or lost."""


class RefusedError(ExecutionError):
    """The cluster takes no more jobs now: wait and try again."""


class NoAnswerError(ExecutionError):
    """The cluster does not answer: nothing follows from it."""


class TrainingError(EmsearchError, RuntimeError):
    """A training cannot go on; a fact about its candidate."""


class DivergedError(TrainingError):
    """The loss or the weights are not finite."""


class CollapsedError(TrainingError):
    """The network predicts one class everywhere."""
