"""The errors a user can meet, and the exit code that each one ends the program with."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What `spvit-search` ends with. Documented in `docs/exit_codes.md`; never renumber."""

    OK = 0
    BUG = 1
    USAGE = 2
    CONFIG = 3
    LATENCY_TABLE = 4
    DATA = 5
    STUDY_LOCKED = 6
    STUDY_MISMATCH = 7
    STORAGE = 8
    CLUSTER = 9
    TOO_MANY_FAILURES = 10
    NOTHING_FEASIBLE = 11
    VIOLATED = 12
    BROKEN_PROMISE = 13
    STOPPED = 75


class SpvitError(Exception):
    """Base of every error that is written for the user: its text says what was required, what came and what to do."""

    exit_code: ExitCode = ExitCode.BUG


class UsageError(SpvitError):
    """The command line asks for something that does not exist (an unknown study, a trial number out of range)."""

    exit_code = ExitCode.USAGE


class ConfigError(SpvitError):
    """An experiment file is missing, unreadable or wrong."""

    exit_code = ExitCode.CONFIG


class UnsupportedModelError(ConfigError):
    """The backbone has no form in which its tokens can be pruned soundly."""


class CheckpointError(ConfigError):
    """Weights are missing, damaged, or do not belong to the model that was asked for."""


class LatencyTableError(SpvitError):
    """A latency table is missing, damaged, stale, or was measured on another device."""

    exit_code = ExitCode.LATENCY_TABLE


class DataError(SpvitError):
    """Images or labels are missing, damaged, or do not fit the model."""

    exit_code = ExitCode.DATA


class DivergedError(SpvitError):
    """A trial's loss became NaN or infinite: its own settings are at fault, running it again would not help."""


class StudyLockedError(SpvitError):
    """Another driver is running this study."""

    exit_code = ExitCode.STUDY_LOCKED


class StudyMismatchError(SpvitError):
    """The study was made from another experiment, table or version than the one given now."""

    exit_code = ExitCode.STUDY_MISMATCH


class StorageError(SpvitError):
    """The study, a checkpoint or an export cannot be read or written."""

    exit_code = ExitCode.STORAGE


class ClusterError(SpvitError):
    """Ray cannot be started or reached."""

    exit_code = ExitCode.CLUSTER


class TooManyFailuresError(SpvitError):
    """So many trials failed that going on would waste the budget."""

    exit_code = ExitCode.TOO_MANY_FAILURES


class NothingFeasibleError(SpvitError):
    """No configuration of the search space meets the latency budget."""

    exit_code = ExitCode.NOTHING_FEASIBLE


class StoppedError(SpvitError):
    """The run was stopped on request; everything finished is kept and it can be resumed."""

    exit_code = ExitCode.STOPPED
