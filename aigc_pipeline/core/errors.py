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
    """The workspace cannot be written (no permission, no space, not a folder), or what a stage left there cannot be read."""


class LockedError(WorkspaceError):
    """Another run is working on the same stage of the same workspace."""


class CheckpointError(PipelineError):
    """A checkpoint is missing, torn or belongs to other networks; or a process that trains died."""


class TrainingDivergedError(PipelineError):
    """Training went wrong (not finite, collapsed ...) and returns did not help. The message names the last good checkpoint."""


class PublishError(PipelineError):
    """There is no version, or one breaks its own contract: a missing file, a wrong hash, counts that do not add up."""
