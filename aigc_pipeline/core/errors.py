"""The whole error tree. Each message says what happened, where, and what to do, with the offending value."""


class PipelineError(Exception):
    """Root of everything a user may see. The command line prints its message without a traceback."""


class ConfigError(PipelineError):
    """The settings are wrong: an unknown key, an unknown class name, members that do not fit the modality."""


class SourceError(PipelineError):
    """The source cannot be read at all: no folder, no class, no sample."""


class DataError(PipelineError):
    """The data cannot carry the request: too few samples, one class only, a table that breaks its schema."""


class WorkspaceError(PipelineError):
    """The workspace cannot be written: no permission, no space, not a folder."""


class LockedError(WorkspaceError):
    """Another run is working on the same stage of the same workspace."""


class CheckpointError(PipelineError):
    """A training checkpoint is torn or belongs to other networks."""


class TrainingDivergedError(PipelineError):
    """A loss or a weight became NaN or infinite. The message names the last good checkpoint."""


class CalibrationError(PipelineError):
    """A judge cannot be fitted at all; a judge that is merely unhealthy blocks filtering by probability instead."""


class PublishError(PipelineError):
    """A version directory breaks its own contract: a missing file, a wrong hash, a wrong schema."""
